// The table kms.registered_place: which columns registrations are of, and which ones their contexts
// use, by number. PostgreSQL side.
#pragma once

#include <span>

#include "pg/contexts/context_columns.hpp"

namespace kms::pg {

struct NotedPlace {
    Oid relation;  // InvalidOid: none is noted
    AttrNumber attribute;
    pg_uuid_t id;  // of the registration
    std::span<const ContextColumn> context;
};

NotedPlace place_of(Snapshot snapshot, const pg_uuid_t& id);
NotedPlace place_at(Snapshot snapshot, Oid relation, AttrNumber attribute);

// For whoever needs many, in the order in which `place_among` looks for them.
std::span<const NotedPlace> all_places(Snapshot snapshot);
NotedPlace place_among(std::span<const NotedPlace> places, const pg_uuid_t& id);

}  // namespace kms::pg
