#include "pg/rewriting/current_tags.hpp"

#include <algorithm>

namespace kms::pg {

struct CurrentTags {
    MemoryContext memory;
    HTAB* table;
};

namespace {

// So that a run over a table of many tenants stays small.
constexpr long most_noted = 100'000;

struct Noted {
    ByteView identifier;
    std::optional<KeyTag> tag;
    int sqlstate;        // 0: it is there, as far as anybody has looked
    const char* reason;  // nullptr then
    TimestampTz looked;
};

uint32 hash_identifier(const void* key, Size /*size*/) {
    const auto& identifier = *static_cast<const ByteView*>(key);
    return DatumGetUInt32(hash_any(identifier.data(), static_cast<int>(identifier.size())));
}

int compare_identifiers(const void* one, const void* other, Size /*size*/) {
    return std::ranges::equal(*static_cast<const ByteView*>(one),
                              *static_cast<const ByteView*>(other))
               ? 0
               : 1;
}

HTAB* make_table(MemoryContext memory) {
    HASHCTL shape = {};
    shape.keysize = sizeof(ByteView);
    shape.entrysize = sizeof(Noted);
    shape.hash = hash_identifier;
    shape.match = compare_identifiers;
    shape.hcxt = memory;
    return hash_create("kms current tags", 256, &shape,
                       HASH_ELEM | HASH_FUNCTION | HASH_COMPARE | HASH_CONTEXT);
}

bool is_believed(const Noted& noted) {
    return !TimestampDifferenceExceeds(noted.looked, GetCurrentTimestamp(), believed_ms);
}

FoundTag found(const Noted& noted) {
    return {noted.tag ? &*noted.tag : nullptr, noted.sqlstate, noted.reason};
}

Noted& entry_of(CurrentTags& tags, ByteView identifier) {
    if (hash_get_num_entries(tags.table) >= most_noted) {
        forget_tags(tags);
    }
    auto* noted = static_cast<Noted*>(hash_search(tags.table, &identifier, HASH_FIND, nullptr));
    if (noted == nullptr) {
        MemoryContext caller = MemoryContextSwitchTo(tags.memory);
        const ByteView kept = copy_of(identifier);
        MemoryContextSwitchTo(caller);
        noted = static_cast<Noted*>(hash_search(tags.table, &kept, HASH_ENTER, nullptr));
        *noted = {.identifier = kept, .tag = {}, .sqlstate = 0, .reason = nullptr, .looked = 0};
    }
    noted->looked = GetCurrentTimestamp();
    return *noted;
}

void set_reason(const CurrentTags& tags, Noted& noted, int sqlstate, const char* reason) {
    if (noted.reason != nullptr) {
        pfree(const_cast<char*>(noted.reason));
    }
    noted.sqlstate = sqlstate;
    noted.reason = reason != nullptr ? MemoryContextStrdup(tags.memory, reason) : nullptr;
}

}  // namespace

bool is_about_a_key(const Failure& failure) {
    const Code code = failure.cause.code;
    return !failure.pending &&
           (code == Code::not_found || code == Code::denied || code == Code::invalid ||
            code == Code::unsupported || code == Code::damaged_key || code == Code::disabled);
}

CurrentTags* make_current_tags() {
    auto* tags = static_cast<CurrentTags*>(palloc(sizeof(CurrentTags)));
    MemoryContext memory =
        AllocSetContextCreate(CurrentMemoryContext, "kms current tags", ALLOCSET_DEFAULT_SIZES);
    *tags = {memory, make_table(memory)};
    return tags;
}

std::optional<FoundTag> believed_tag(const CurrentTags& tags, ByteView identifier) {
    const auto* noted =
        static_cast<const Noted*>(hash_search(tags.table, &identifier, HASH_FIND, nullptr));
    return noted != nullptr && is_believed(*noted) ? std::optional(found(*noted)) : std::nullopt;
}

FoundTag note_tag(CurrentTags& tags, ByteView identifier, const KeyTag& tag) {
    Noted& noted = entry_of(tags, identifier);
    noted.tag = tag;
    set_reason(tags, noted, 0, nullptr);
    return found(noted);
}

void note_let_go_of(CurrentTags& tags, ByteView identifier) {
    Noted& noted = entry_of(tags, identifier);
    noted.tag.reset();
    set_reason(tags, noted, 0, nullptr);
}

FoundTag note_out_of_reach(CurrentTags& tags, ByteView identifier, const Failure& failure) {
    Noted& noted = entry_of(tags, identifier);
    noted.tag.reset();
    set_reason(tags, noted, failure.cause.sqlstate, failure.cause.message);
    return found(noted);
}

void forget_tags(CurrentTags& tags) {
    MemoryContextReset(tags.memory);
    tags.table = make_table(tags.memory);
}

}  // namespace kms::pg
