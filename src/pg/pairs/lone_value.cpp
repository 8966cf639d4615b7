#include "pg/pairs/lone_value.hpp"

#include "pg/rewriting/row_writer.hpp"

namespace kms::pg {

bool is_unchanged(const TriggerData* call, AttrNumber attribute) {
    const TupleDesc shape = RelationGetDescr(call->tg_relation);
    bool was_null = false;
    bool is_null = false;
    const Datum before = heap_getattr(call->tg_trigtuple, attribute, shape, &was_null);
    const Datum after = heap_getattr(call->tg_newtuple, attribute, shape, &is_null);
    return !was_null && !is_null && is_same_image(shape, attribute, before, after);
}

bool is_lone_value(const TriggerData* call, AttrNumber source, AttrNumber target) {
    const TupleDesc shape = RelationGetDescr(call->tg_relation);
    const bool is_update = TRIGGER_FIRED_BY_UPDATE(call->tg_event);
    const HeapTuple tuple = is_update ? call->tg_newtuple : call->tg_trigtuple;
    if (!heap_attisnull(tuple, source, shape) || heap_attisnull(tuple, target, shape)) {
        return false;
    }
    if (!is_update || !is_unchanged(call, target)) {
        const char* const* names = call->tg_trigger->tgargs;
        ereport(ERROR,
                (errcode(ERRCODE_TRIGGERED_DATA_CHANGE_VIOLATION),
                 errmsg("column \"%s\" of \"%s\" is made of column \"%s\", which is NULL", names[1],
                        RelationGetRelationName(call->tg_relation), names[0]),
                 errhint("Write column \"%s\" until kms.switch_column() has dropped it; or set "
                         "both to NULL, where there is to be no value.",
                         names[0])));
    }
    return heap_attisnull(call->tg_trigtuple, source, shape);
}

}  // namespace kms::pg
