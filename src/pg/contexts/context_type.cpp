#include "pg/contexts/context_type.hpp"

namespace kms::pg {
namespace {

constexpr const char* too_many_parts = ", and more than is looked at";

const char* collation_text(Oid collation) {
    HeapTuple tuple = SearchSysCache1(COLLOID, ObjectIdGetDatum(collation));
    if (!HeapTupleIsValid(tuple)) {
        return "none";
    }
    const auto* found = reinterpret_cast<Form_pg_collation>(GETSTRUCT(tuple));
    const char* text = quote_qualified_identifier(get_namespace_name(found->collnamespace),
                                                  NameStr(found->collname));
    ReleaseSysCache(tuple);
    return text;
}

void append_type(StringInfo text, Oid type, std::int32_t modifier, Oid collation) {
    if (type == TEXTOID || type == VARCHAROID) {
        appendStringInfoString(text, "text");
    } else {
        appendStringInfo(text, "%u:%d", type, modifier);
    }
    if (OidIsValid(collation) && collation != DEFAULT_COLLATION_OID) {
        appendStringInfo(text, " collate %s", collation_text(collation));
    }
}

void append_attributes(StringInfo text, Oid relation) {
    for (AttrNumber i = 1; get_attname(relation, i, true) != nullptr; ++i) {
        Oid type = InvalidOid;
        std::int32_t modifier = -1;
        Oid collation = InvalidOid;
        get_atttypetypmodcoll(relation, i, &type, &modifier, &collation);
        if (OidIsValid(type)) {  // not of an attribute that was dropped
            appendStringInfo(text, " %d ", i);
            append_type(text, type, modifier, collation);
        }
    }
}

}  // namespace

const char* context_type(Oid type, std::int32_t modifier, Oid collation, TypeBound& bound) {
    StringInfoData text;
    initStringInfo(&text);
    append_type(&text, type, modifier, collation);
    const List* parts = types_in(type, bound);
    if (bound.is_reached()) {
        appendStringInfoString(&text, too_many_parts);
        return text.data;
    }
    for (int i = 0; i < list_length(parts); ++i) {
        const Oid part = list_nth_oid(parts, i);
        if (is_row(part)) {
            appendStringInfo(&text, ", %u:", part);
            append_attributes(&text, get_typ_typrelid(part));
        }
    }
    return text.data;
}

}  // namespace kms::pg
