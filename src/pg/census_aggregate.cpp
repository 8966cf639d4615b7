// The aggregate census_of: a CensusCounter over a column, which workers share.
#include "pg/args.hpp"
#include "pg/census_counter.hpp"

namespace kms::pg {
namespace {

// In memory that lives as long as the aggregate's state.
CensusCounter* make_counter(FunctionCallInfo fcinfo) {
    MemoryContext memory = nullptr;
    if (AggCheckCallContext(fcinfo, &memory) == 0) {
        elog(ERROR, "a function of the aggregate kms.census_of was called by itself");
    }
    return new (MemoryContextAlloc(memory, sizeof(CensusCounter))) CensusCounter(memory);
}

CensusCounter* counter_argument(FunctionCallInfo fcinfo, int index) {
    return PG_ARGISNULL(index) ? nullptr
                               : reinterpret_cast<CensusCounter*>(PG_GETARG_POINTER(index));
}

CensusCounter* own_counter(FunctionCallInfo fcinfo) {
    CensusCounter* counter = counter_argument(fcinfo, 0);
    return counter != nullptr ? counter : make_counter(fcinfo);
}

}  // namespace

KMS_FUNCTION(kms_census_add) {
    CensusCounter* counter = own_counter(fcinfo);
    if (!PG_ARGISNULL(1)) {
        counter->count(reinterpret_cast<varlena*>(PG_GETARG_POINTER(1)));
    }
    PG_RETURN_POINTER(counter);
}

KMS_FUNCTION(kms_census_combine) {
    CensusCounter* counter = own_counter(fcinfo);
    if (const CensusCounter* other = counter_argument(fcinfo, 1)) {
        counter->add(other->entries());
    }
    PG_RETURN_POINTER(counter);
}

KMS_FUNCTION(kms_census_serialize) {
    const CensusCounter* counter = counter_argument(fcinfo, 0);
    if (counter == nullptr) {
        PG_RETURN_NULL();
    }
    PG_RETURN_POINTER(pack_census(counter->entries()));
}

KMS_FUNCTION(kms_census_deserialize) {
    CensusCounter* counter = make_counter(fcinfo);
    if (!PG_ARGISNULL(0)) {
        counter->add(unpack_census(bytes_argument(fcinfo, 0)));
    }
    PG_RETURN_POINTER(counter);
}

}  // namespace kms::pg
