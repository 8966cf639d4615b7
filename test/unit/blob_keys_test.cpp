// The keys and contexts of blobs, against the bytes that doc/formats.md gives.
#include "crypto/blob_keys.hpp"

#include <gtest/gtest.h>

#include <set>

#include "crypto/kdf.hpp"
#include "crypto/wrap_context.hpp"
#include "vectors.hpp"

#include "base/floor.hpp"

namespace kms {
namespace {

using namespace std::string_view_literals;

BlobId id_of(Byte byte) {
    BlobId id;
    id.fill(byte);
    return id;
}

std::string drawn(ByteView key, std::string_view info, std::size_t size) {
    std::vector<Byte> out(size);
    EXPECT_TRUE(hkdf_sha256(key, bytes_of(info), out));
    return to_hex(out);
}

TEST(BlobKeys, AreDrawnFromTheBlobsKey) {
    const auto key = test::pattern(32);
    const auto keys = BlobKeys::derive(key);
    ASSERT_TRUE(keys);
    EXPECT_EQ(to_hex(keys->segment.view()), drawn(key, "kms/1 blob segment", 32));
    EXPECT_EQ(to_hex(keys->manifest.tag()), drawn(key, "kms/1 blob tag", 8));
    EXPECT_EQ(keys->manifest.algorithm(), Algorithm::xaes_256_gcm);
}

TEST(BlobKeys, HaveNothingOfAnotherBlobs) {
    auto left = BlobKeys::derive(test::pattern(32, 1));
    auto right = BlobKeys::derive(test::pattern(32, 2));
    ASSERT_TRUE(left && right);
    std::vector<Byte> sealed(left->manifest.sealed_size(3));
    std::vector<Byte> out(3);
    ASSERT_TRUE(left->manifest.seal(test::pattern(3), {}, sealed));
    EXPECT_CODE(right->manifest.open(sealed, {}, out), Code::wrong_key);
}

TEST(BlobKeys, AKeyHas32Bytes) {
    for (const std::size_t size : {0, 16, 31, 33, 64}) {
        EXPECT_CODE(BlobKeys::derive(test::pattern(size)), Code::invalid);
    }
}

TEST(BlobContext, AsWritten) {
    const auto id = id_of('i');
    EXPECT_EQ(blob_key_context(id), "kms/1 blob key\0iiiiiiiiiiiiiiii"sv);
    EXPECT_EQ(blob_segment_context(id, 0x0102030405060708),
              "kms/1 blob segment\0iiiiiiiiiiiiiiii\1\2\3\4\5\6\7\x08"sv);
    EXPECT_EQ(blob_manifest_context(id, 1),
              "kms/1 blob manifest\0iiiiiiiiiiiiiiii\0\0\0\0\0\0\0\1"sv);
    EXPECT_EQ(blob_chunk_context(id, 2, 3, true),
              "kms/1 blob chunk\0iiiiiiiiiiiiiiii\0\0\0\0\0\0\0\2\0\0\0\0\0\0\0\3\1"sv);
    EXPECT_EQ(blob_chunk_context(id, 2, 3, false),
              "kms/1 blob chunk\0iiiiiiiiiiiiiiii\0\0\0\0\0\0\0\2\0\0\0\0\0\0\0\3\0"sv);
}

TEST(BlobContext, AreAllDifferent) {
    std::set<std::string> contexts;
    std::size_t made = 0;
    const auto add = [&](std::string context) {
        contexts.insert(std::move(context));
        ++made;
    };
    for (const Byte byte : {0, 1, 255}) {
        const auto id = id_of(byte);
        add(blob_key_context(id));
        for (const std::uint64_t number : {0, 1, 256}) {
            add(blob_segment_context(id, number));
            add(blob_manifest_context(id, number));
            for (const std::uint64_t chunk : {0, 1, 256}) {
                add(blob_chunk_context(id, number, chunk, false));
                add(blob_chunk_context(id, number, chunk, true));
            }
        }
        add(secret_context(bytes_of(blob_key_context(id))));
        add(data_key_context("xaes-256-gcm", 1, bytes_of(blob_key_context(id))));
    }
    EXPECT_EQ(contexts.size(), made);
}

}  // namespace
}  // namespace kms
