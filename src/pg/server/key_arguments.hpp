// Arguments that the functions about keys share, at the agent and in kms.data_key: PostgreSQL side.
#pragma once

#include "crypto/algorithm.hpp"
#include "pg/server/arguments.hpp"

namespace kms::pg {

// A key's name; empty where it is NULL.
ByteView key_argument(FunctionCallInfo fcinfo, int index, const char* name);

// An expression, say; nullptr where it is NULL, or where the function has no such argument.
const char* text_argument(FunctionCallInfo fcinfo, int index);

// 22004 or 22023 where a column is to have neither one key nor one for each row, or both.
void require_one_key(const char* function, ByteView identifier, const char* expression);

Algorithm algorithm_argument(FunctionCallInfo fcinfo, int index);
std::uint32_t version_argument(FunctionCallInfo fcinfo, int index);

// Code::unsupported for one that this build does not know.
Algorithm required_algorithm(const Subject& subject, std::string_view name);

// A WARNING where a key version of the algorithm may seal but so many values.
void warn_of_limit(Algorithm algorithm);

// A WARNING where a key that makes search terms has a new version.
void warn_of_new_terms(ByteView identifier, std::uint32_t version, Algorithm algorithm);

// For messages: in the spelling of kms.keys, cut where it is long.
const char* shown_identifier(ByteView identifier);

}  // namespace kms::pg
