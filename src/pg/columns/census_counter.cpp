#include "pg/columns/census_counter.hpp"

#include <algorithm>

#include "pg/server/arguments.hpp"

namespace kms::pg {
namespace {

constexpr SealedUnder not_sealed{};

HTAB* make_table(MemoryContext memory) {
    HASHCTL shape = {};
    shape.keysize = sizeof(SealedUnder);
    shape.entrysize = sizeof(CensusEntry);
    shape.hcxt = memory;
    return hash_create("kms census", 16, &shape, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

CensusEntry* allocate_entries(std::size_t count) {
    return static_cast<CensusEntry*>(
        MemoryContextAllocHuge(CurrentMemoryContext, (count + 1) * sizeof(CensusEntry)));
}

// Rows and bytes are left alone.
SealedUnder under_of(ByteView beginning, std::size_t length, std::size_t& least) {
    SealedUnder under = not_sealed;
    const auto least_sealed = least_sealed_length(beginning);
    least = least_sealed.value_or(0);
    if (least_sealed && length >= *least_sealed) {
        copy_bytes(beginning.first(sealed_beginning), under);
    }
    return under;
}

}  // namespace

KeyTag CensusEntry::tag() const {
    KeyTag tag;
    copy_bytes(ByteView(under).last(key_tag_length), tag);
    return tag;
}

CensusCounter::CensusCounter(MemoryContext memory) : entries_(make_table(memory)) {}

[[gnu::hot]] void CensusCounter::count(varlena* value) {
    if (stands_in_its_row(value)) {
        const ByteView bytes = bytes_of_packed(value);
        count(bytes, bytes.size());
        return;
    }
    const Datum datum = PointerGetDatum(value);
    const std::size_t length = toast_raw_datum_size(datum) - VARHDRSZ;
    varlena* beginning = pg_detoast_datum_slice(value, 0, sealed_beginning);
    count(bytes_of_packed(beginning), length);
    pfree(beginning);
}

[[gnu::hot]] void CensusCounter::count(ByteView beginning, std::size_t length) {
    const bool like_last =
        last_ != nullptr && length >= last_least_ && last_->is_sealed() &&
        std::memcmp(beginning.data(), last_->under.data(), sealed_beginning) == 0;
    if (!like_last) {
        last_ = &entry_of(under_of(beginning, length, last_least_));
    }
    ++last_->rows;
    last_->bytes += length;
}

void CensusCounter::add(std::span<const CensusEntry> entries) {
    for (const CensusEntry& entry : entries) {
        CensusEntry& sum = entry_of(entry.under);
        sum.rows += entry.rows;
        sum.bytes += entry.bytes;
    }
}

CensusEntry& CensusCounter::entry_of(const SealedUnder& under) {
    bool found = false;
    auto* entry =
        static_cast<CensusEntry*>(hash_search(entries_, under.data(), HASH_ENTER, &found));
    if (!found) {
        entry->rows = entry->bytes = 0;
    }
    return *entry;
}

std::span<const CensusEntry> CensusCounter::entries() const {
    const auto count = static_cast<std::size_t>(hash_get_num_entries(entries_));
    CensusEntry* entries = allocate_entries(count);
    CensusEntry* out = entries;
    HASH_SEQ_STATUS scan;
    hash_seq_init(&scan, entries_);
    while (const void* entry = hash_seq_search(&scan)) {
        *out++ = *static_cast<const CensusEntry*>(entry);
    }
    return {entries, count};
}

std::uint64_t CensusCounter::rows_under(const KeyTag& tag) const {
    std::uint64_t rows = 0;
    for (const Suite suite : {Suite::xaes_256_gcm, Suite::aes_siv, Suite::aes_gcm}) {
        SealedUnder under = {static_cast<Byte>(suite)};
        copy_bytes(tag, ByteSpan(under).last(key_tag_length));
        const void* entry = hash_search(entries_, under.data(), HASH_FIND, nullptr);
        rows += entry != nullptr ? static_cast<const CensusEntry*>(entry)->rows : 0;
    }
    return rows;
}

}  // namespace kms::pg
