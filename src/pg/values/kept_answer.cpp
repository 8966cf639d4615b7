#include "pg/values/kept_answer.hpp"

#include <algorithm>

#include "base/secret.hpp"
#include "pg/server/arguments.hpp"
#include "pg/session/key_use.hpp"
#include "pg/session/session.hpp"

namespace kms::pg {
namespace {

constexpr std::size_t most_kept = 65536;  // bytes of a question

// In fn_extra. The bytes lie in a memory context of their own.
struct Kept {
    MemoryContext memory;
    MemoryContextCallback wiping;
    bool is_there;
    Question question;  // its views are of `memory`
    varlena* answer;
    Oid role;
    std::uint64_t circumstances;
    std::uint64_t changes;
    TimestampTz statement;  // the one that the client sent
};

void wipe_kept(void* argument) {
    auto* kept = static_cast<Kept*>(argument);
    if (kept->is_there) {
        wipe({const_cast<Byte*>(kept->question.data.data()), kept->question.data.size()});
        kept->is_there = false;
    }
}

Kept* begin(FunctionCallInfo fcinfo) {
    auto* kept = static_cast<Kept*>(MemoryContextAllocZero(fcinfo->flinfo->fn_mcxt, sizeof(Kept)));
    kept->memory =
        AllocSetContextCreate(fcinfo->flinfo->fn_mcxt, "kms answer", ALLOCSET_SMALL_SIZES);
    fcinfo->flinfo->fn_extra = kept;
    return kept;
}

// Emptied, which wipes it, and to be wiped again.
void empty(Kept& kept) {
    MemoryContextReset(kept.memory);
    kept.wiping = {wipe_kept, &kept, nullptr};
    MemoryContextRegisterResetCallback(kept.memory, &kept.wiping);
}

bool same(const Question& a, const Question& b) {
    return a.local_id == b.local_id && a.option == b.option && std::ranges::equal(a.data, b.data) &&
           std::ranges::equal(a.context, b.context);
}

bool holds(const Kept& kept) {
    AcceptInvalidationMessages();
    return kept.is_there && kept.statement == GetCurrentStatementStartTimestamp() &&
           kept.role == GetUserId() && kept.circumstances == key_circumstances() &&
           kept.changes == session().changes;
}

}  // namespace

bool recall_answer(FunctionCallInfo fcinfo, const Question& question, Datum& answer) {
    const auto* kept =
        static_cast<const Kept*>(fcinfo->flinfo != nullptr ? fcinfo->flinfo->fn_extra : nullptr);
    if (kept == nullptr || !holds(*kept) || !same(kept->question, question)) {
        return false;
    }
    answer = datumCopy(PointerGetDatum(kept->answer), false, -1);
    return true;
}

void keep_answer(FunctionCallInfo fcinfo, const Question& question, Datum answer,
                 std::uint64_t circumstances) {
    if (fcinfo->flinfo == nullptr || question.data.size() + question.context.size() > most_kept) {
        return;
    }
    auto* kept = static_cast<Kept*>(fcinfo->flinfo->fn_extra);
    if (kept == nullptr) {
        kept = begin(fcinfo);
    }
    empty(*kept);
    MemoryContext caller = MemoryContextSwitchTo(kept->memory);
    kept->question = {question.local_id, question.option, copy_of(question.data),
                      copy_of(question.context)};
    kept->is_there = true;
    kept->answer = reinterpret_cast<varlena*>(DatumGetPointer(datumCopy(answer, false, -1)));
    MemoryContextSwitchTo(caller);
    kept->role = GetUserId();
    kept->circumstances = circumstances;
    kept->changes = session().changes;
    kept->statement = GetCurrentStatementStartTimestamp();
}

}  // namespace kms::pg
