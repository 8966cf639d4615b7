// What becomes of rows' values in memory: outside the owner's code, in the caller's name.
#include <algorithm>

#include "pg/rewriting/chunk.hpp"
#include "pg/rewriting/current_tags.hpp"
#include "pg/session/session.hpp"

namespace kms::pg {
namespace {

// As it is to be: the key and the context are those of now.
bool opens(const Call& call) {
    varlena* plaintext = nullptr;
    const Failure failure = open(call, &plaintext);
    if (failure) {
        raise_unless_about_the_value(failure);
        return false;
    }
    wipe(bytes_in(plaintext));
    pfree(plaintext);
    return true;
}

template <typename IsLeft>
void keep_those(Chunk& chunk, IsLeft&& is_left) {
    std::size_t left = 0;
    for (std::size_t i = 0; i < chunk.count; ++i) {
        if (is_left(i)) {
            chunk.calls[left] = chunk.calls[i];
            chunk.calls_before[left] = chunk.calls_before[i];
            chunk.rows[left++] = chunk.rows[i];
        }
    }
    chunk.count = left;
}

// Where the header does not tell what has been moved.
void leave_out_moved(const Batch& batch, Chunk& chunk) {
    keep_those(chunk, [&](std::size_t i) {
        return !begins_under(chunk.calls[i].data, batch.key.tag) || !opens(chunk.calls[i]);
    });
}

bool names_keys_to_seal(const Batch& batch) {
    return batch.key.key_expression != nullptr && batch.run.is_between_columns();
}

// What keeps the key from being used is the row's own where the row names it.
void raise_unless_about_the_row(const Batch& batch, const Failure& failure) {
    if (batch.key.key_expression == nullptr || !is_about_a_key(failure)) {
        raise_unless_about_the_value(failure);
    }
}

// Once for all rows that name it.
FoundTag current_tag_of(const Batch& batch, ByteView identifier) {
    CurrentTags& tags = *batch.run.current_tags;
    if (const auto believed = believed_tag(tags, identifier)) {
        return *believed;
    }
    KeyTag tag = {};
    forget_key({batch.key.action, 0, identifier});
    const Failure failure = find_current_tag({batch.key.action, 0, {}, {}, identifier}, tag);
    if (failure) {
        raise_unless_about_the_row(batch, failure);
        return note_out_of_reach(tags, identifier, failure);
    }
    return note_tag(tags, identifier, tag);
}

// Where each row names its key.
void leave_out_current(Work& work) {
    Chunk& chunk = work.chunk;
    keep_those(chunk, [&](std::size_t i) {
        const FoundTag found = current_tag_of(work.batch, chunk.calls[i].identifier);
        if (found.is_out_of_reach()) {
            note_bad_row(work, chunk.rows[i].place, found.sqlstate, found.reason);
        }
        return !found.is_out_of_reach() && !begins_under(chunk.calls[i].data, *found.tag);
    });
}

void leave_out_done(Work& work) {
    if (work.batch.key.is_of_each_row) {
        leave_out_current(work);
    } else {
        leave_out_moved(work.batch, work.chunk);
    }
}

Failure seal_anew(const Batch& batch, const Chunk& chunk, std::size_t first, std::size_t count,
                  std::size_t& done) {
    const std::span<const Call> calls(chunk.calls + first, count);
    varlena** results = chunk.results + first;
    if (batch.run.is_between_columns()) {
        return transform(batch.run.opens ? Way::open : Way::seal, calls, results, done);
    }
    const Call* before = batch.key.is_moving ? chunk.calls_before + first : calls.data();
    return reseal({before, count}, calls, results, done);
}

// While a column is filled: so that it is not asked for again for each row that names it.
void note_key_of(Work& work, std::size_t index, const Failure& failure) {
    if (names_keys_to_seal(work.batch) && is_about_a_key(failure)) {
        (void)note_out_of_reach(*work.batch.run.current_tags, work.chunk.calls[index].identifier,
                                failure);
    }
}

// What the session holds of a key may have been rotated meanwhile, and disabled: it is let go of
// once a second, and sealing asks for it.
std::optional<FoundTag> found_out_of_reach(const Work& work, std::size_t index) {
    if (!names_keys_to_seal(work.batch)) {
        return std::nullopt;
    }
    CurrentTags& tags = *work.batch.run.current_tags;
    const ByteView identifier = work.chunk.calls[index].identifier;
    const auto found = believed_tag(tags, identifier);
    if (!found) {
        forget_key({work.batch.key.action, 0, identifier});
        note_let_go_of(tags, identifier);
    }
    return found && found->is_out_of_reach() ? found : std::nullopt;
}

// Of `most` rows from `first` on, which is one of them: those before one whose key is out of reach.
std::size_t count_in_reach(const Work& work, std::size_t first, std::size_t most) {
    std::size_t count = 1;
    while (count < most && !found_out_of_reach(work, first + count)) {
        ++count;
    }
    return count;
}

// It has been moved, but is of another version than the current one.
bool is_sealed_as_moved(const Batch& batch, const Chunk& chunk, std::size_t index) {
    if (!batch.key.is_moving) {
        return false;
    }
    const std::span<const Call> call(chunk.calls + index, 1);
    std::size_t done = 0;
    const Failure failure = reseal(call, call, chunk.results + index, done);
    if (failure) {
        raise_unless_about_the_value(failure);
    }
    return !failure;
}

bool has_no_context_before(const Chunk& chunk, std::size_t index) {
    return chunk.calls_before[index].data.empty() && !chunk.calls[index].data.empty();
}

void seal_one(Work& work, std::size_t index, const Failure& failure) {
    Chunk& chunk = work.chunk;
    if (is_sealed_as_moved(work.batch, chunk, index)) {
        return;
    }
    chunk.results[index] = nullptr;
    if (work.batch.key.is_moving && has_no_context_before(chunk, index)) {
        note_bad_row(work, chunk.rows[index].place, ERRCODE_NULL_VALUE_NOT_ALLOWED,
                     "its context of before is NULL");
    } else {
        note_bad_row(work, chunk.rows[index].place, failure.cause.sqlstate, failure.cause.message);
    }
}

}  // namespace

void note_bad_row(Work& work, const ItemPointerData& place, int sqlstate, const char* reason) {
    note_bad(work.attempt.bad, RelationGetRelid(work.batch.table), place, sqlstate, reason);
}

void raise_unless_about_the_value(const Failure& failure) {
    const Code code = failure.cause.code;
    const bool is_about_the_value = code == Code::malformed || code == Code::wrong_key ||
                                    code == Code::corrupt || code == Code::disabled ||
                                    code == Code::too_large;
    if (failure.pending || !is_about_the_value) {
        raise(failure);
    }
}

// After a failure only a few are tried at once: where many are bad, not all of the rest again.
void seal_chunk(Work& work) {
    Chunk& chunk = work.chunk;
    if (work.batch.unwritten.any) {
        leave_out_done(work);
    }
    std::size_t at_once = chunk_rows;
    for (std::size_t first = 0; first < chunk.count;) {
        if (const auto found = found_out_of_reach(work, first)) {
            note_bad_row(work, chunk.rows[first].place, found->sqlstate, found->reason);
            chunk.results[first++] = nullptr;
            continue;
        }
        const std::size_t count =
            count_in_reach(work, first, std::min(at_once, chunk.count - first));
        std::size_t done = 0;
        const Failure failure = seal_anew(work.batch, chunk, first, count, done);
        if (!failure) {
            first += count;
            at_once = std::min(2 * at_once, chunk_rows);
            continue;
        }
        raise_unless_about_the_row(work.batch, failure);
        first += done;
        note_key_of(work, first, failure);
        seal_one(work, first, failure);
        at_once = std::max<std::size_t>(done / 2, 1);
        ++first;
    }
}

void look_at_chunk(Work& work) {
    leave_out_done(work);
    const std::span<const Call> calls(work.chunk.calls, work.chunk.count);
    const ByteView tag = work.batch.key.tag;
    work.attempt.passed_over += static_cast<std::int64_t>(calls.size());
    if (!work.batch.key.is_of_each_row) {
        work.attempt.hidden += std::ranges::count_if(
            calls, [&](const Call& call) { return begins_under(call.data, tag); });
    }
}

}  // namespace kms::pg
