#include "pg/columns/sealed_contexts.hpp"

#include "pg/columns/in_step_trigger.hpp"
#include "pg/contexts/context_expression.hpp"
#include "pg/contexts/context_names.hpp"
#include "pg/tables/inheritance.hpp"
#include "pg/tables/owner.hpp"

namespace kms::pg {
namespace {

const List* columns_of(const char* expression) {
    if (expression == nullptr) {
        return NIL;
    }
    const int level = NewGUCNestLevel();
    set_meanwhile("standard_conforming_strings", "on");
    const List* names = names_of_columns(expression);
    AtEOXact_GUC(false, level);
    return names;
}

// Whether one inherits the other, or a third one both. What they inherit has one name.
bool share_rows(Oid one, Oid other) {
    if (one == other || !OidIsValid(one) || !OidIsValid(other)) {
        return one == other && OidIsValid(one);
    }
    const List* others = find_all_inheritors(other, NoLock, nullptr);
    const List* all = find_all_inheritors(one, NoLock, nullptr);
    for (int i = 0; i < list_length(all); ++i) {
        if (list_member_oid(others, list_nth_oid(all, i))) {
            return true;
        }
    }
    return false;
}

// While a column is moved, there may be values of the context of before too.
const List* columns_under(const RegisteredColumn& sealed) {
    const List* names =
        list_concat_copy(columns_of(sealed.context_expression), columns_of(sealed.key_expression));
    return sealed.is_moving ? list_concat_copy(names, columns_of(sealed.was.context_expression))
                            : names;
}

void add_columns(Bitmapset*& attributes, Relation table, const List* names) {
    for (int i = 0; i < list_length(names); ++i) {
        const AttrNumber attribute =
            get_attnum(RelationGetRelid(table), static_cast<const char*>(list_nth(names, i)));
        if (attribute > 0) {
            attributes = bms_add_member(attributes, attribute);
        }
    }
}

[[noreturn]] void refuse(const char* detail) {
    ereport(ERROR, (errcode(ERRCODE_INVALID_COLUMN_REFERENCE),
                    errmsg("a registered expression is over nothing that is sealed itself"),
                    errdetail("%s", detail),
                    errhint("Sealed again, it is other bytes, and what was sealed under those "
                            "before opens no more.")));
    pg_unreachable();
}

// The columns that it is over, and the primary key is not, by their names.
template <typename Visit>
void for_each_mutable(Relation table, const char* expression, Visit&& visit) {
    const Bitmapset* key = RelationGetIndexAttrBitmap(table, INDEX_ATTR_BITMAP_PRIMARY_KEY);
    Bitmapset* columns = nullptr;
    add_columns(columns, table, columns_of(expression));
    int column = -1;
    while (key != nullptr && (column = bms_next_member(columns, column)) >= 0) {
        if (!bms_is_member(column - FirstLowInvalidHeapAttributeNumber, key)) {
            visit(get_attname(RelationGetRelid(table), static_cast<AttrNumber>(column), false));
        }
    }
}

bool has_default(Oid oid, const char* column) {
    const Relation table = table_open(oid, NoLock);
    const AttrNumber attribute = get_attnum(oid, column);
    const bool has =
        attribute > 0 && TupleDescAttr(RelationGetDescr(table), attribute - 1)->atthasdef;
    table_close(table, NoLock);
    return has;
}

}  // namespace

void require_over_nothing_sealed(Relation table, const char* expression) {
    const List* names = columns_of(expression);
    for (const RegisteredColumn& column : registered_columns()) {
        if (has_name(names, column.column_name) &&
            share_rows(column.relation, RelationGetRelid(table))) {
            refuse(psprintf("Column %s is registered.", full_name(column)));
        }
    }
    for (int i = 0; i < list_length(names); ++i) {
        const char* name = static_cast<const char*>(list_nth(names, i));
        if (find_in_step_trigger_into(table, name).name != nullptr) {
            refuse(psprintf("Column \"%s\" of \"%s\" is kept in step with one that is sealed.",
                            name, RelationGetRelationName(table)));
        }
    }
}

void warn_of_updates(Relation table, const SealedAs& sealed_as) {
    const auto warn = [&](const char* expression, const char* what) {
        for_each_mutable(table, expression, [&](const char* column) {
            ereport(WARNING,
                    (errmsg("the %s is over column \"%s\" of \"%s\", which is no part of its "
                            "primary key",
                            what, column, RelationGetRelationName(table)),
                     errhint("An UPDATE of that column must seal the value anew, or nobody opens "
                             "it any more.")));
        });
    };
    warn(sealed_as.context_expression, "context");
    warn(sealed_as.key_expression, "key");
}

void warn_of_updates_meanwhile(Relation table, const char* context_expression) {
    for_each_mutable(table, context_expression, [&](const char* column) {
        ereport(
            WARNING,
            (errmsg("the context of before is over column \"%s\" of \"%s\", which is no part of "
                    "its primary key",
                    column, RelationGetRelationName(table)),
             errhint("Until the move is over, an UPDATE of that column must seal the value "
                     "anew, or nobody opens it any more.")));
    });
}

void warn_of_defaults(Oid relation, const char* column, const char* hint) {
    const List* tables = find_all_parts(relation, AccessShareLock);
    for (int i = 0; i < list_length(tables); ++i) {
        const Oid table = list_nth_oid(tables, i);
        if (has_default(table, column)) {
            ereport(
                WARNING,
                (errmsg("column \"%s\" of \"%s\" has a DEFAULT, which goes on to seal as it does",
                        column, get_rel_name(table)),
                 errhint("%s", hint)));
        }
    }
}

// What is generated may be so in a partition alone.
void require_context_at_hand(Oid relation, const char* context) {
    const List* tables = find_all_inheritors(relation, AccessShareLock, nullptr);
    for (int i = 0; i < list_length(tables); ++i) {
        const Relation table = table_open(list_nth_oid(tables, i), NoLock);
        run_owners_code(owner_of(relation), [&] { require_at_hand(table, context); });
        table_close(table, NoLock);
    }
}

bool is_over(Relation table, const char* expression, AttrNumber attribute) {
    const Bitmapset* columns = nullptr;
    run_owners_code(table->rd_rel->relowner,
                    [&] { columns = columns_of_context(table, expression); });
    return bms_is_member(attribute - FirstLowInvalidHeapAttributeNumber, columns);
}

bool is_opened_with(Relation table, AttrNumber attribute, const RegisteredColumn& column) {
    return is_over(table, column.context_expression, attribute) ||
           is_over(table, column.key_expression, attribute) ||
           (column.is_moving && is_over(table, column.was.context_expression, attribute));
}

const char* how_to_come_away(const RegisteredColumn& sealed) {
    const char* name = full_name(sealed);
    return sealed.key_expression == nullptr
               ? psprintf(
                     "kms.reencrypt() with new_context moves the values of %s to a context "
                     "over other columns.",
                     name)
               : psprintf(
                     "In one transaction, UPDATE %s to what kms.encode_with() seals, under "
                     "another key or context, of what kms.decode_with() opens, and register "
                     "it with other expressions: kms.unregister_column(), "
                     "kms.register_column().",
                     name);
}

const Bitmapset* in_other_contexts(Relation table, const char* column) {
    Bitmapset* attributes = nullptr;
    for (const RegisteredColumn& sealed : registered_columns()) {
        const bool is_other = strcmp(sealed.column_name, column) != 0 &&
                              share_rows(sealed.relation, RelationGetRelid(table)) &&
                              find_in_step_trigger_into(table, sealed.column_name).name == nullptr;
        if (is_other) {
            add_columns(attributes, table, columns_under(sealed));
        }
    }
    return attributes;
}

const RegisteredColumn* sealed_under(Oid relation, const char* column) {
    for (const RegisteredColumn& sealed : registered_columns()) {
        if (share_rows(sealed.relation, relation) && has_name(columns_under(sealed), column)) {
            return &sealed;
        }
    }
    return nullptr;
}

}  // namespace kms::pg
