// The two ways to seal and open that values.cpp chooses from.
#pragma once

#include "pg/values.hpp"

namespace kms::pg {

Failure seal_locally(const Call& call, varlena** result);
Failure open_locally(const Call& call, varlena** result);
// The plaintext of `call` is sealed by the key of `to`, with its context.
Failure reseal_locally(const Call& call, Call to, varlena** result);

Failure transform_remotely(Way way, std::span<const Call> calls, varlena** results,
                           std::size_t& done);
Failure reseal_remotely(const Call& call, Call to, varlena** result);

}  // namespace kms::pg
