// The extension's own SQLSTATEs that are raised outside of the wall's table, and the classes of
// all.
#pragma once

#include <algorithm>
#include <initializer_list>

#include "pg/server/pg.hpp"

namespace kms::pg::sqlstate {

// `classes`: any SQLSTATE of each.
inline bool is_of_class(int sqlstate, std::initializer_list<int> classes) {
    return std::ranges::any_of(classes, [=](int one) {
        return ERRCODE_TO_CATEGORY(sqlstate) == ERRCODE_TO_CATEGORY(one);
    });
}

constexpr int not_bound = MAKE_SQLSTATE('K', 'M', '0', '0', '1');
constexpr int not_found = MAKE_SQLSTATE('K', 'M', '0', '0', '2');
constexpr int denied = MAKE_SQLSTATE('K', 'M', '0', '0', '3');
constexpr int wrong_key = MAKE_SQLSTATE('K', 'M', '0', '0', '4');
constexpr int corrupt = MAKE_SQLSTATE('K', 'M', '0', '0', '5');
constexpr int malformed = MAKE_SQLSTATE('K', 'M', '0', '0', '6');
constexpr int not_offered = MAKE_SQLSTATE('K', 'M', '0', '1', '0');
constexpr int disabled = MAKE_SQLSTATE('K', 'M', '0', '1', '1');
constexpr int still_needed = MAKE_SQLSTATE('K', 'M', '0', '1', '2');

constexpr int no_blob = MAKE_SQLSTATE('K', 'M', '0', '1', '3');
constexpr int other_version = MAKE_SQLSTATE('K', 'M', '0', '1', '4');
constexpr int other_size = MAKE_SQLSTATE('K', 'M', '0', '1', '5');

}  // namespace kms::pg::sqlstate
