#include "pg/columns/column_state.hpp"

namespace kms::pg {
namespace {

template <typename Find>
InStepTrigger look_in(Oid relation, Find&& find) {
    const Relation table = relation_open(relation, AccessShareLock);
    const InStepTrigger trigger = find(table);
    relation_close(table, NoLock);
    return trigger;
}

InStepTrigger maker_of(Oid relation, const char* column) {
    return look_in(relation,
                   [&](Relation table) { return find_in_step_trigger_into(table, column); });
}

const char* missing_of(Oid relation, const InStepTrigger& trigger) {
    return get_attnum(relation, trigger.source) == InvalidAttrNumber ? trigger.source
                                                                     : trigger.target;
}

// PostgreSQL fires them in the order of their names, byte by byte.
bool fires_before_each_write(const Trigger& trigger) {
    return trigger.tgenabled != TRIGGER_DISABLED && TRIGGER_FOR_ROW(trigger.tgtype) &&
           TRIGGER_FOR_BEFORE(trigger.tgtype) &&
           (TRIGGER_FOR_INSERT(trigger.tgtype) || TRIGGER_FOR_UPDATE(trigger.tgtype));
}

void require_fires_last_in(Relation table) {
    const Oid ours = in_step_function();
    const TriggerDesc* triggers = table->trigdesc;  // in that order
    const char* own = nullptr;
    for (int i = 0; triggers != nullptr && i < triggers->numtriggers; ++i) {
        const Trigger& trigger = triggers->triggers[i];
        if (trigger.tgfoid == ours) {
            own = trigger.tgname;
        } else if (own != nullptr && fires_before_each_write(trigger)) {
            ereport(
                ERROR,
                (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                 errmsg("trigger \"%s\" of \"%s\" fires behind \"%s\"", trigger.tgname,
                        RelationGetRelationName(table), own),
                 errdetail("What it changes of the row would not be in the column that is kept "
                           "in step."),
                 errhint("ALTER TRIGGER ... RENAME TO a name that comes before, byte by byte.")));
        }
    }
}

}  // namespace

void require_not_moving(const RegisteredColumn& column) {
    if (column.is_moving) {
        ereport(ERROR,
                (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                 errmsg("column \"%s\" of \"%s\" is being moved to another key or context",
                        column.column_name, column.relation_name),
                 errhint("CALL kms.reencrypt() with its new_key or new_context until all rows are "
                         "there.")));
    }
}

void require_not_opened(Oid relation, AttrNumber column) {
    const char* name = get_attname(relation, column, false);
    const InStepTrigger trigger =
        look_in(relation, [&](Relation table) { return find_in_step_trigger(table, name); });
    if (trigger.opens) {
        ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                        errmsg("column \"%s\" of \"%s\" is being decrypted into column \"%s\"",
                               trigger.source, get_rel_name(relation), trigger.target),
                        errhint("Call kms.switch_column(). %s", how_to_give_up(trigger))));
    }
}

void require_not_being_encrypted(Oid relation, const char* encrypted) {
    const InStepTrigger trigger = maker_of(relation, encrypted);
    if (trigger.name != nullptr) {
        ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                        errmsg("column \"%s\" of \"%s\" is being encrypted into column \"%s\"",
                               trigger.source, get_rel_name(relation), encrypted),
                        errhint("%s", how_to_give_up(trigger))));
    }
}

void require_not_made(Oid relation, AttrNumber column) {
    const char* name = get_attname(relation, column, false);
    const InStepTrigger trigger = maker_of(relation, name);
    if (trigger.name != nullptr) {
        ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                        errmsg("column \"%s\" of \"%s\" is made of column \"%s\"", name,
                               get_rel_name(relation), trigger.source),
                        errhint("Call kms.switch_column() before. %s", how_to_give_up(trigger))));
    }
}

void require_fires_last(Oid relation) {
    const List* tables = find_all_inheritors(relation, AccessShareLock, nullptr);
    for (int i = 0; i < list_length(tables); ++i) {
        const Relation table = relation_open(list_nth_oid(tables, i), NoLock);
        require_fires_last_in(table);
        relation_close(table, NoLock);
    }
}

void require_unregistered(Oid relation, AttrNumber source) {
    if (const RegisteredColumn* column = find_registration(relation, source)) {
        ereport(ERROR,
                (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                 errmsg("column \"%s\" of \"%s\" is registered: its values are sealed already",
                        column->column_name, column->relation_name),
                 errhint("%sUPDATE brings them to one that each row names, with kms.decode_with() "
                         "and kms.encode_with().",
                         column->key_expression == nullptr
                             ? "kms.reencrypt() with new_key brings them to another key. "
                             : "")));
    }
}

void require_whole_pairs(Oid relation) {
    const InStepTrigger trigger = look_in(relation, find_torn_trigger);
    if (trigger.name != nullptr) {
        const char* missing = missing_of(relation, trigger);
        ereport(
            ERROR,
            (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
             errmsg("trigger \"%s\" of \"%s\" keeps column \"%s\" in step with column \"%s\", "
                    "and there is no column \"%s\"",
                    trigger.name, get_rel_name(relation), trigger.target, trigger.source, missing),
             errhint("Where it was renamed, name it \"%s\" again until kms.switch_column() is "
                     "done; where it was dropped, drop the trigger.",
                     missing)));
    }
}

const char* how_to_give_up(const InStepTrigger& trigger) {
    return psprintf(
        "To give up instead, drop trigger \"%s\"; and then column \"%s\", where every "
        "value is in column \"%s\" still.",
        trigger.name, trigger.target, trigger.source);
}

}  // namespace kms::pg
