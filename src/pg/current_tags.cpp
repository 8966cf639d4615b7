#include "pg/current_tags.hpp"

#include <algorithm>

#include "crypto/sealed.hpp"

namespace kms::pg {

struct CurrentTags {
    const char* action;
    MemoryContext memory;
    HTAB* table;
};

namespace {

struct CurrentTag {
    ByteView identifier;
    KeyTag tag;
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
    shape.entrysize = sizeof(CurrentTag);
    shape.hash = hash_identifier;
    shape.match = compare_identifiers;
    shape.hcxt = memory;
    return hash_create("kms current tags", 256, &shape,
                       HASH_ELEM | HASH_FUNCTION | HASH_COMPARE | HASH_CONTEXT);
}

bool is_believed(const CurrentTag& tag) {
    return !TimestampDifferenceExceeds(tag.looked, GetCurrentTimestamp(), believed_ms);
}

void note_tag(CurrentTags& tags, ByteView identifier, const KeyTag& tag) {
    bool was_there = false;
    auto* noted =
        static_cast<CurrentTag*>(hash_search(tags.table, &identifier, HASH_ENTER, &was_there));
    if (!was_there) {
        MemoryContext caller = MemoryContextSwitchTo(tags.memory);
        noted->identifier = copy_of(identifier);
        MemoryContextSwitchTo(caller);
    }
    noted->tag = tag;
    noted->looked = GetCurrentTimestamp();
}

}  // namespace

Failure find_current_tag(const char* action, ByteView identifier, KeyTag& tag) {
    varlena* sealed = nullptr;
    if (const Failure failure = seal({action, 0, {}, {}, identifier}, &sealed)) {
        return failure;
    }
    const auto header = read_sealed_header(bytes_in(sealed));
    if (!header) {
        raise_error({action, 0, identifier}, Code::protocol,
                    "The agent's ciphertext has no key tag.");
    }
    pfree(sealed);
    tag = header->tag;
    return {};
}

CurrentTags* make_current_tags(const char* action) {
    auto* tags = static_cast<CurrentTags*>(palloc(sizeof(CurrentTags)));
    MemoryContext memory =
        AllocSetContextCreate(CurrentMemoryContext, "kms current tags", ALLOCSET_DEFAULT_SIZES);
    *tags = {action, memory, make_table(memory)};
    return tags;
}

const KeyTag* believed_tag(const CurrentTags& tags, ByteView identifier) {
    const auto* found =
        static_cast<const CurrentTag*>(hash_search(tags.table, &identifier, HASH_FIND, nullptr));
    return found != nullptr && is_believed(*found) ? &found->tag : nullptr;
}

Failure find_current_tag(CurrentTags& tags, ByteView identifier, KeyTag& tag) {
    if (const KeyTag* believed = believed_tag(tags, identifier)) {
        tag = *believed;
        return {};
    }
    forget_key({tags.action, 0, identifier});
    if (const Failure failure = find_current_tag(tags.action, identifier, tag)) {
        return failure;
    }
    note_tag(tags, identifier, tag);
    return {};
}

}  // namespace kms::pg
