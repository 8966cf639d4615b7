#include "crypto/blob_manifest.hpp"

#include <gtest/gtest.h>

#include "vectors.hpp"

#include "base/floor.hpp"

namespace kms {
namespace {

using Bytes = std::vector<Byte>;

constexpr BlobId id{1, 2, 3};

SecretBytes text(std::string_view bytes) {
    return SecretBytes::copy_of(bytes_of(bytes));
}

BlobSegment segment(std::uint64_t number, std::uint64_t length) {
    BlobSegment made{number, length, {}};
    made.commitment.fill(static_cast<Byte>(number));
    return made;
}

BlobManifest full_manifest() {
    BlobManifest manifest;
    manifest.complete = true;
    manifest.created = 1'700'000'000'000'000;
    manifest.modified = -1;
    manifest.expires = 1'800'000'000'000'000;
    manifest.name = text("report.pdf");
    manifest.content_type = text("application/pdf");
    manifest.metadata = text(R"({"k": [1, null]})");
    manifest.segments = {segment(1, 5), segment(2, max_blob_segment_length), segment(9, 1)};
    manifest.total_length = max_blob_segment_length + 6;
    return manifest;
}

SealingKey manifest_key(unsigned start = 1) {
    auto keys = BlobKeys::derive(test::pattern(32, start));
    EXPECT_TRUE(keys);
    return std::move(keys->manifest);
}

Bytes written(const BlobManifest& manifest) {
    const auto bytes = write_manifest(manifest);
    EXPECT_TRUE(bytes);
    return {bytes->data(), bytes->data() + bytes->size()};
}

void expect_equal(const std::optional<SecretBytes>& left, const std::optional<SecretBytes>& right) {
    ASSERT_EQ(left.has_value(), right.has_value());
    if (left) {
        EXPECT_EQ(text_of(left->view()), text_of(right->view()));
    }
}

void expect_equal(const BlobManifest& left, const BlobManifest& right) {
    EXPECT_EQ(left.complete, right.complete);
    EXPECT_EQ(left.total_length, right.total_length);
    EXPECT_EQ(left.created, right.created);
    EXPECT_EQ(left.modified, right.modified);
    EXPECT_EQ(left.expires, right.expires);
    expect_equal(left.name, right.name);
    expect_equal(left.content_type, right.content_type);
    expect_equal(left.metadata, right.metadata);
    EXPECT_EQ(left.segments, right.segments);
}

void expect_round_trip(const BlobManifest& manifest) {
    const auto parsed = parse_manifest(written(manifest));
    ASSERT_TRUE(parsed);
    expect_equal(*parsed, manifest);
}

TEST(BlobManifest, RoundTripsWhateverIsThere) {
    expect_round_trip({});
    for (unsigned absent = 0; absent < 32; ++absent) {
        BlobManifest manifest = full_manifest();
        manifest.complete = (absent & 1) != 0;
        manifest.expires = (absent & 2) != 0 ? std::nullopt : manifest.expires;
        (absent & 4) != 0 ? manifest.name.reset() : manifest.name->resize(absent % 3);
        (absent & 8) != 0 ? manifest.content_type.reset() : manifest.content_type->clear();
        (absent & 16) != 0 ? manifest.metadata.reset() : void();
        expect_round_trip(manifest);
    }
}

BlobManifest longest_manifest() {
    BlobManifest manifest = full_manifest();
    manifest.name = SecretBytes::copy_of(Bytes(max_blob_name_length));
    manifest.content_type = SecretBytes::copy_of(Bytes(max_blob_name_length));
    manifest.metadata = SecretBytes::copy_of(Bytes(max_blob_metadata_length));
    manifest.segments.clear();
    for (std::uint64_t number = 0; number < max_blob_segments; ++number) {
        manifest.segments.push_back(segment(number * 3, max_blob_segment_length));
    }
    manifest.total_length = max_blob_segments * max_blob_segment_length;
    return manifest;
}

TEST(BlobManifest, ThousandsOfSegments) {
    BlobManifest manifest = longest_manifest();
    expect_round_trip(manifest);
    manifest.segments.push_back(segment(~std::uint64_t{0}, 1));
    ++manifest.total_length;
    EXPECT_CODE(write_manifest(manifest), Code::too_large);
}

TEST(BlobManifest, TextsAreBounded) {
    BlobManifest manifest = longest_manifest();
    for (auto* one : {&manifest.name, &manifest.content_type, &manifest.metadata}) {
        const std::size_t most = (*one)->size();
        **one = SecretBytes::copy_of(Bytes(most + 1));
        EXPECT_CODE(write_manifest(manifest), Code::too_large);
        **one = SecretBytes::copy_of(Bytes(most));
    }
}

TEST(BlobManifest, SegmentsMakeUpTheBlob) {
    BlobManifest manifest;
    manifest.total_length = 10;
    manifest.segments = {segment(1, 4), segment(2, 6)};
    expect_round_trip(manifest);
    for (const auto& segments : std::initializer_list<std::vector<BlobSegment>>{
             {},
             {segment(1, 4)},                                  // one is missing
             {segment(1, 4), segment(2, 7)},                   // another sum
             {segment(2, 6), segment(1, 4)},                   // swapped
             {segment(1, 5), segment(1, 5)},                   // a number twice
             {segment(1, 4), segment(2, 0), segment(3, 6)},    // empty
             {segment(1, ~std::uint64_t{0}), segment(2, 11)},  // a sum that overflows
         }) {
        manifest.segments = segments;
        EXPECT_CODE(write_manifest(manifest), Code::invalid);
    }
    manifest.total_length = max_blob_segment_length + 1;
    manifest.segments = {segment(1, max_blob_segment_length + 1)};
    EXPECT_CODE(write_manifest(manifest), Code::invalid);
}

// Whatever is changed in it: refused, or another manifest that is written as it was read.
TEST(BlobManifest, ThereIsOneWayToWriteIt) {
    const Bytes whole = written(full_manifest());
    for (std::size_t size = 1; size < whole.size(); ++size) {
        EXPECT_CODE(parse_manifest(ByteView(whole).first(size)), Code::corrupt);
    }
    EXPECT_CODE(parse_manifest({}), Code::unsupported);
    EXPECT_CODE(parse_manifest(test::joined(whole, {0})), Code::corrupt);
    std::size_t refused = 0;
    for (std::size_t bit = 0; bit < 8 * whole.size(); ++bit) {
        Bytes changed = whole;
        changed[bit / 8] ^= static_cast<Byte>(1 << bit % 8);
        const auto parsed = parse_manifest(changed);
        if (parsed) {
            EXPECT_EQ(written(*parsed), changed) << bit;
        }
        refused += !parsed;
    }
    EXPECT_GT(refused, 8 * 60U);
}

TEST(BlobManifest, OtherFormatsAndFlagsAreRefused) {
    Bytes bytes = written(full_manifest());
    for (const Byte format : {0, 2, 255}) {
        bytes[0] = format;
        EXPECT_CODE(parse_manifest(bytes), Code::unsupported);
    }
    bytes[0] = 1;
    for (const Byte flag : {32, 64, 128}) {
        bytes[1] = static_cast<Byte>(31 | flag);
        EXPECT_CODE(parse_manifest(bytes), Code::corrupt);
    }
}

// The count is believed only where so many bytes follow.
TEST(BlobManifest, AnAbsurdCountAllocatesNothing) {
    Bytes bytes = written({});
    std::fill_n(bytes.end() - 4, 4, 0xFF);
    EXPECT_CODE(parse_manifest(bytes), Code::corrupt);
    bytes = written({});
    *(bytes.end() - 3) = 1;  // 65,536
    EXPECT_CODE(parse_manifest(bytes), Code::corrupt);
}

TEST(BlobManifest, Sealed) {
    SealingKey key = manifest_key();
    const auto sealed = seal_manifest(key, id, 7, full_manifest());
    ASSERT_TRUE(sealed);
    const auto opened = open_manifest(key, id, 7, sealed->view());
    ASSERT_TRUE(opened);
    expect_equal(*opened, full_manifest());
    EXPECT_EQ(sealed->size(), written(full_manifest()).size() + 49);
}

TEST(BlobManifest, BelongsToOneKeyOneBlobAndOneVersion) {
    SealingKey key = manifest_key();
    SealingKey other = manifest_key(2);
    const auto sealed = seal_manifest(key, id, 7, full_manifest());
    ASSERT_TRUE(sealed);
    EXPECT_CODE(open_manifest(key, id, 6, sealed->view()), Code::corrupt);
    EXPECT_CODE(open_manifest(key, BlobId{1, 2, 4}, 7, sealed->view()), Code::corrupt);
    EXPECT_CODE(open_manifest(other, id, 7, sealed->view()), Code::wrong_key);
}

TEST(BlobManifest, EveryBitAndEveryTruncationOfTheSealedOne) {
    SealingKey key = manifest_key();
    BlobManifest manifest;
    manifest.name = text("a");
    auto sealed = seal_manifest(key, id, 7, manifest);
    ASSERT_TRUE(sealed);
    for (std::size_t bit = 0; bit < 8 * sealed->size(); ++bit) {
        sealed->data()[bit / 8] ^= static_cast<Byte>(1 << bit % 8);
        EXPECT_FALSE(open_manifest(key, id, 7, sealed->view())) << bit;
        sealed->data()[bit / 8] ^= static_cast<Byte>(1 << bit % 8);
    }
    for (std::size_t size = 0; size < sealed->size(); ++size) {
        EXPECT_FALSE(open_manifest(key, id, 7, sealed->view().first(size))) << size;
    }
    EXPECT_TRUE(open_manifest(key, id, 7, sealed->view()));
}

// Its length alone is enough to refuse it, whatever key it names.
TEST(BlobManifest, OneThatIsTooLongIsNotOpened) {
    SealingKey key = manifest_key();
    SealingKey other = manifest_key(2);
    const auto longest = seal_manifest(key, id, 7, longest_manifest());
    ASSERT_TRUE(longest);
    EXPECT_TRUE(open_manifest(key, id, 7, longest->view()));
    EXPECT_CODE(open_manifest(other, id, 7, longest->view()), Code::wrong_key);
    const Bytes longer = test::joined({longest->data(), longest->data() + longest->size()}, {0});
    EXPECT_CODE(open_manifest(other, id, 7, longer), Code::corrupt);
}

}  // namespace
}  // namespace kms
