// The two ways to seal and open that values.cpp chooses from.
#pragma once

#include "pg/values.hpp"

namespace kms::pg {

Failure seal_locally(const Call& call, varlena** result);
Failure open_locally(const Call& call, varlena** result);
Failure reseal_locally(const Call& call, std::int32_t to_id, varlena** result);

Failure transform_remotely(Way way, std::span<const Call> calls, varlena** results,
                           std::size_t& done);
Failure reseal_remotely(const Call& call, std::int32_t to_id, varlena** result);

}  // namespace kms::pg
