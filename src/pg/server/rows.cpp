#include "pg/server/rows.hpp"

#include <algorithm>

namespace kms::pg {
namespace {

// A tuplestore of so many kilobytes is never written to a file.
constexpr int never_spilled = MAX_KILOBYTES;
constexpr std::size_t least_secret_bytes = std::size_t{64} << 20;

// Of a tuplestore, and of each tuple that it has.
constexpr std::size_t tuplestore_overhead = std::size_t{32} << 10;
constexpr std::size_t row_overhead = 64;

std::size_t most_secret_bytes() {
    return std::max(least_secret_bytes, static_cast<std::size_t>(work_mem) * 1024);
}

bool can_materialize(FunctionCallInfo fcinfo) {
    const auto* result = reinterpret_cast<const ReturnSetInfo*>(fcinfo->resultinfo);
    return result != nullptr && IsA(result, ReturnSetInfo) &&
           (result->allowedModes & SFRM_Materialize) != 0;
}

}  // namespace

RowSet::RowSet(FunctionCallInfo fcinfo, Rows rows)
    : left_(rows == Rows::secret ? most_secret_bytes() : SIZE_MAX) {
    auto* result = reinterpret_cast<ReturnSetInfo*>(fcinfo->resultinfo);
    if (!can_materialize(fcinfo)) {
        ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
                        errmsg("a set of rows cannot be returned here")));
    }
    MemoryContext caller = MemoryContextSwitchTo(result->econtext->ecxt_per_query_memory);
    if (get_call_result_type(fcinfo, nullptr, &shape_) != TYPEFUNC_COMPOSITE) {
        elog(ERROR, "return type must be a row type");
    }
    store_ = tuplestore_begin_heap((result->allowedModes & SFRM_Materialize_Random) != 0, false,
                                   rows == Rows::secret ? never_spilled : work_mem);
    result->returnMode = SFRM_Materialize;
    result->setResult = store_;
    result->setDesc = shape_;
    MemoryContextSwitchTo(caller);
}

void RowSet::add(Datum* values, bool* nulls) {
    const std::size_t size = heap_compute_data_size(shape_, values, nulls) + row_overhead;
    if (size > left_) {
        ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
                        errmsg("the result has more rows than are held in memory"),
                        errdetail("They are secret, and are not written to a temporary file."),
                        errhint("Ask for fewer of them, or raise work_mem above 64 MB.")));
    }
    left_ -= left_ == SIZE_MAX ? 0 : size;
    tuplestore_putvalues(store_, shape_, values, nulls);
}

Datum row_datum(FunctionCallInfo fcinfo, Datum* values, bool* nulls, Rows rows) {
    TupleDesc shape = nullptr;
    if (get_call_result_type(fcinfo, nullptr, &shape) != TYPEFUNC_COMPOSITE) {
        elog(ERROR, "return type must be a row type");
    }
    if (rows == Rows::secret && can_materialize(fcinfo) &&
        heap_compute_data_size(shape, values, nulls) + tuplestore_overhead >
            static_cast<std::size_t>(work_mem) * 1024) {
        ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
                        errmsg("the row is larger than what is held in memory"),
                        errdetail("It is secret, and is not written to a temporary file."),
                        errhint("Call the function among what is selected instead of in FROM, or "
                                "raise work_mem.")));
    }
    return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(shape), values, nulls));
}

}  // namespace kms::pg
