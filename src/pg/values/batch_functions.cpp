// encode_batch, decode_batch, decode_batch_text: encode and decode as window functions.
//
// In remote mode a batch of rows is read ahead and is one exchange with the agent. In local mode
// there is nothing to gain by that, and each row is dealt with as it comes.
#include "pg/session/settings.hpp"
#include "pg/values/read_ahead.hpp"

namespace kms::pg {
namespace {

constexpr WindowAction encode = {"encode", Way::seal, false};
constexpr WindowAction decode = {"decode", Way::open, false};
constexpr WindowAction decode_text = {"decode", Way::open, true};

Reach& reach_of(FmgrInfo* function) {
    if (function->fn_extra == nullptr) {
        function->fn_extra = MemoryContextAllocZero(function->fn_mcxt, sizeof(Reach));
    }
    return *static_cast<Reach*>(function->fn_extra);
}

varlena* from_read_ahead(FunctionCallInfo fcinfo, WindowRows& rows, const WindowAction& action) {
    auto* ahead =
        static_cast<ReadAhead*>(WinGetPartitionLocalMemory(rows.window(), sizeof(ReadAhead)));
    return ahead->result(rows, action, reach_of(fcinfo->flinfo));
}

varlena* from_current_row(WindowRows& rows, const WindowAction& action) {
    rows.read_current();
    rows.require_arguments();
    if (rows.data_is_null()) {
        return nullptr;
    }
    const Call call = {action.name, rows.local_id(), rows.data(), rows.context()};
    varlena* result = nullptr;
    if (const Failure failure =
            action.way == Way::seal ? seal(call, &result) : open(call, &result)) {
        raise(failure);
    }
    if (action.to_text) {
        require_text(call, result);
    }
    return result;
}

// Rows behind the current one are not looked at again, and the partition's store need not keep
// them.
Datum result_for_row(FunctionCallInfo fcinfo, const WindowAction& action) {
    WindowRows rows(fcinfo);
    WinSetMarkPosition(rows.window(), WinGetCurrentPosition(rows.window()));
    const varlena* result = mode() == Mode::remote ? from_read_ahead(fcinfo, rows, action)
                                                   : from_current_row(rows, action);
    if (result == nullptr) {
        PG_RETURN_NULL();
    }
    PG_RETURN_POINTER(result);
}

}  // namespace

KMS_FUNCTION(kms_encode_batch) {
    return result_for_row(fcinfo, encode);
}

KMS_FUNCTION(kms_decode_batch) {
    return result_for_row(fcinfo, decode);
}

KMS_FUNCTION(kms_decode_batch_text) {
    return result_for_row(fcinfo, decode_text);
}

}  // namespace kms::pg
