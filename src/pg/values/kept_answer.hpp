// The last answer of a STABLE function, which is called once a row where no index takes its place.
// Kept for as long as the query's own memory of the call lives, within one statement of the
// client's, and wiped with it: by the arguments, and by the role, settings and keys that it was
// given under.
#pragma once

#include "base/bytes.hpp"
#include "pg/session/session.hpp"

namespace kms::pg {

struct Question {
    std::int32_t local_id;
    std::int32_t option;
    ByteView data;
    ByteView context;
};

// The kept answer, a varlena, in the current memory context; false: there is none to this question
// now.
bool recall_answer(FunctionCallInfo fcinfo, const Question& question, Datum& answer);

// `circumstances`: those from before it was made.
void keep_answer(FunctionCallInfo fcinfo, const Question& question, Datum answer,
                 std::uint64_t circumstances);

// `make` gives the answer, or raises.
template <typename Make>
Datum kept_answer(FunctionCallInfo fcinfo, const Question& question, Make&& make) {
    Datum answer;
    if (!recall_answer(fcinfo, question, answer)) {
        const std::uint64_t circumstances = key_circumstances();
        answer = make();
        keep_answer(fcinfo, question, answer, circumstances);
    }
    return answer;
}

}  // namespace kms::pg
