// Arguments that the functions about keys share, at the agent and in kms.data_key: act one.
#pragma once

#include "crypto/algorithm.hpp"
#include "pg/args.hpp"

namespace kms::pg {

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
