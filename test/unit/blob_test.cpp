// Whole blobs: their wrapped key, segments and manifest as test/blobs.py has made them.
#include <gtest/gtest.h>

#include "chunked.hpp"
#include "crypto/blob_manifest.hpp"

#include "base/floor.hpp"

namespace kms {
namespace {

using test::Bytes;

struct Vector {
    explicit Vector(const test::Json& vector) : json(vector), key(test::unhex(vector, "key")) {
        copy_bytes(test::unhex(vector, "id"), id);
        auto derived = BlobKeys::derive(key);
        EXPECT_TRUE(derived);
        keys.emplace(std::move(*derived));
    }

    Bytes message_of(const test::Json& segment) const {
        const std::string context = blob_segment_context(id, segment["number"]);
        const auto salt = test::unhex(segment["header"].get<std::string>().substr(0, 48));
        return test::seal_message(keys->segment.view(), bytes_of(context),
                                  test::pattern(segment["length"], segment["start"]), salt);
    }

    const test::Json& json;
    Bytes key;
    BlobId id{};
    std::optional<BlobKeys> keys;
};

void for_each_vector(void (*use)(Vector& vector)) {
    const auto vectors = test::carried_vectors("blob.json");
    EXPECT_EQ(vectors.size(), 4U);
    for (const test::Json& json : vectors) {
        SCOPED_TRACE(json["id"].get<std::string>());
        Vector vector(json);
        use(vector);
    }
}

void expect_text(const test::Json& expected, const std::optional<SecretBytes>& text) {
    ASSERT_EQ(text.has_value(), !expected.is_null());
    if (text) {
        EXPECT_EQ(to_hex(text->view()), expected);
    }
}

TEST(BlobVectors, TheWrappedKey) {
    for_each_vector([](Vector& vector) {
        const auto algorithm = algorithm_named(vector.json["algorithm"].get<std::string>());
        const auto wrapped = test::unhex(vector.json, "wrapped");
        auto kek = SealingKey::wrapping_from_data_key(*algorithm, test::unhex(vector.json, "kek"));
        ASSERT_TRUE(kek);
        Bytes opened(blob_key_length);
        ASSERT_TRUE(kek->open(wrapped, bytes_of(blob_key_context(vector.id)), opened));
        EXPECT_EQ(opened, vector.key);
    });
}

TEST(BlobVectors, TheSegments) {
    for_each_vector([](Vector& vector) {
        for (const test::Json& segment : vector.json["segments"]) {
            const Bytes message = vector.message_of(segment);
            EXPECT_EQ(to_hex(ByteView(message).first(chunked::header_length)), segment["header"]);
            EXPECT_EQ(test::sha512(message), segment["sha512"]);
        }
    });
}

void expect_fields(const test::Json& fields, const BlobManifest& manifest) {
    EXPECT_EQ(manifest.complete, fields["complete"] == 1);
    EXPECT_EQ(manifest.created, fields["created"].get<std::int64_t>());
    EXPECT_EQ(manifest.modified, fields["modified"].get<std::int64_t>());
    ASSERT_EQ(manifest.expires.has_value(), !fields["expires"].is_null());
    if (manifest.expires) {
        EXPECT_EQ(*manifest.expires, fields["expires"].get<std::int64_t>());
    }
    expect_text(fields["name"], manifest.name);
    expect_text(fields["content_type"], manifest.content_type);
    expect_text(fields["metadata"], manifest.metadata);
}

void expect_segments(const test::Json& expected, const std::vector<BlobSegment>& segments) {
    ASSERT_EQ(segments.size(), expected.size());
    for (std::size_t i = 0; i < segments.size(); ++i) {
        EXPECT_EQ(segments[i].number, expected[i]["number"].get<std::uint64_t>());
        EXPECT_EQ(segments[i].length, expected[i]["length"].get<std::uint64_t>());
        EXPECT_EQ(to_hex(segments[i].commitment),
                  expected[i]["header"].get<std::string>().substr(48));
    }
}

TEST(BlobVectors, TheManifest) {
    for_each_vector([](Vector& vector) {
        const auto manifest =
            open_manifest(vector.keys->manifest, vector.id, vector.json["version"],
                          test::unhex(vector.json, "manifest"));
        ASSERT_TRUE(manifest) << manifest.error().text;
        expect_fields(vector.json["fields"], *manifest);
        expect_segments(vector.json["segments"], manifest->segments);
    });
}

// The same blob's segments do not stand in each other's place, nor in another blob.
TEST(Blob, SegmentsCannotBeSwapped) {
    const auto key = test::pattern(32);
    const auto plaintext = test::pattern(100);
    const BlobId id{1};
    const auto read = [&](const Bytes& message, const BlobId& as_id, std::uint64_t as_number) {
        const std::string context = blob_segment_context(as_id, as_number);
        return test::read_message(key, bytes_of(context), message).status;
    };
    const Bytes message = test::seal_message(key, bytes_of(blob_segment_context(id, 1)), plaintext);
    EXPECT_TRUE(read(message, id, 1));
    EXPECT_CODE(read(message, id, 2), Code::corrupt);
    EXPECT_CODE(read(message, BlobId{2}, 1), Code::corrupt);
    EXPECT_CODE(test::read_message(key, bytes_of(blob_manifest_context(id, 1)), message).status,
                Code::corrupt);
}

}  // namespace
}  // namespace kms
