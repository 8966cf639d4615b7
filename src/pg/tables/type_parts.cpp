#include "pg/tables/type_parts.hpp"

namespace kms::pg {
namespace {

Oid inside(Oid type) {
    return type_is_multirange(type) ? get_multirange_range(type)
           : type_is_range(type)    ? get_range_subtype(type)
                                    : get_element_type(type);
}

// InvalidOid where it is no domain.
Oid domain_base(Oid type) {
    HeapTuple row = SearchSysCache1(TYPEOID, ObjectIdGetDatum(type));
    if (!HeapTupleIsValid(row)) {
        return InvalidOid;
    }
    const Oid base = reinterpret_cast<Form_pg_type>(GETSTRUCT(row))->typbasetype;
    ReleaseSysCache(row);
    return base;
}

// What a value may hold. Types may be made of each other in many ways: each comes once.
class Parts {
  public:
    Parts(Oid type, TypeBound& bound) : bound_(bound) { add(type); }

    const List* all() const { return all_; }
    template <typename Is>
    bool any(Is&& is) const {
        for (int i = 0; i < list_length(all_); ++i) {
            if (is(list_nth_oid(all_, i))) {
                return true;
            }
        }
        return false;
    }
    bool are_too_many() const { return bound_.is_reached(); }

  private:
    void add(Oid type) {
        check_stack_depth();
        if (!OidIsValid(type) || are_too_many() || list_member_oid(all_, type)) {
            return;
        }
        all_ = lappend_oid(all_, type);
        --bound_.types;
        add(domain_base(type));
        add(inside(type));
        if (is_row(type)) {
            add_attributes(get_typ_typrelid(type));
        }
    }

    void add_attributes(Oid relation) {
        for (AttrNumber i = 1; !are_too_many() && get_attname(relation, i, true) != nullptr; ++i) {
            --bound_.attributes;
            add(get_atttype(relation, i));
        }
    }

    TypeBound& bound_;
    List* all_ = NIL;
};

template <typename Is>
bool has_part(Oid type, Is&& is) {
    TypeBound bound;
    return Parts(type, bound).any(is);
}

bool stands_for_name(Oid type) {
    switch (type) {
        case ACLITEMOID:
        case REGCLASSOID:
        case REGCOLLATIONOID:
        case REGCONFIGOID:
        case REGDICTIONARYOID:
        case REGNAMESPACEOID:
        case REGOPEROID:
        case REGOPERATOROID:
        case REGPROCOID:
        case REGPROCEDUREOID:
        case REGROLEOID:
        case REGTYPEOID:
            return true;
        default:
            return false;
    }
}

}  // namespace

bool is_row(Oid type) {
    return get_typtype(type) == TYPTYPE_COMPOSITE;
}

const List* types_in(Oid type, TypeBound& bound) {
    return Parts(type, bound).all();
}

bool names_something(Oid type) {
    return has_part(type, stands_for_name);
}

bool holds_row(Oid type) {
    return has_part(type, [](Oid part) { return is_row(part) || part == RECORDOID; });
}

bool is_made_of(Oid type, Oid part) {
    return has_part(type, [part](Oid other) { return other == part; });
}

}  // namespace kms::pg
