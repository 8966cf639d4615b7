// Sealing and opening one value, in either mode. All three acts: an error of PostgreSQL's own is
// raised, any other comes back as a Failure, which try_decode may turn into NULL.
#pragma once

#include "pg/args.hpp"

namespace kms::pg {

// One call of encode, decode or their kin. Views are of detoasted arguments.
struct Call {
    const char* action;
    std::int32_t local_id;
    ByteView data;
    ByteView context;
};

Failure seal_locally(const Call& call, varlena** result);
Failure open_locally(const Call& call, varlena** result);
Failure reseal_locally(const Call& call, std::int32_t to_id, varlena** result);

Failure seal_remotely(const Call& call, varlena** result);
Failure open_remotely(const Call& call, varlena** result);
Failure reseal_remotely(const Call& call, std::int32_t to_id, varlena** result);

}  // namespace kms::pg
