// Where unit tests take their vectors from: test/vectors/ always, and the directory that the
// environment variable KMS_VECTORS names where it is set (Project Wycheproof).
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/hex.hpp"

namespace kms::test {

using Json = nlohmann::json;

inline Json read_json(const std::string& path) {
    std::ifstream file(path);
    EXPECT_TRUE(file) << "cannot read " << path << ": tests run at the top of the tree";
    return Json::parse(file);
}

inline Json carried_vectors(const std::string& name) {
    return read_json("test/vectors/" + name);
}

inline std::optional<std::string> public_vectors(const std::string& name) {
    const char* directory = std::getenv("KMS_VECTORS");
    if (directory == nullptr || *directory == '\0') {
        return std::nullopt;
    }
    return std::string(directory) + "/" + name;
}

// `use`(group, test) for every test of a file of Project Wycheproof.
template <typename Use>
void for_each_wycheproof(const std::string& path, Use use) {
    const Json file = read_json(path);
    for (const Json& group : file["testGroups"]) {
        for (const Json& test : group["tests"]) {
            SCOPED_TRACE("test " + std::to_string(test["tcId"].get<int>()));
            use(group, test);
        }
    }
}

inline std::vector<Byte> unhex(const std::string& text) {
    const auto bytes = from_hex(text);
    EXPECT_TRUE(bytes) << text;
    return {bytes->data(), bytes->data() + bytes->size()};
}

inline std::vector<Byte> unhex(const Json& vector, const char* field) {
    return unhex(vector[field].get<std::string>());
}

// Bytes that differ from place to place.
inline std::vector<Byte> pattern(std::size_t size, unsigned start = 1) {
    std::vector<Byte> bytes(size);
    for (std::size_t i = 0; i < size; ++i) {
        bytes[i] = static_cast<Byte>(start + i * 7 + i / 256);
    }
    return bytes;
}

inline std::vector<Byte> joined(std::vector<Byte> left, const std::vector<Byte>& right) {
    left.insert(left.end(), right.begin(), right.end());
    return left;
}

inline bool all_zero(ByteView bytes) {
    for (const Byte byte : bytes) {
        if (byte != 0) {
            return false;
        }
    }
    return true;
}

}  // namespace kms::test

// The status or result failed with exactly this code.
#define EXPECT_CODE(expression, expected)                                          \
    do {                                                                           \
        const auto& kms_outcome = (expression);                                    \
        ASSERT_FALSE(kms_outcome);                                                 \
        EXPECT_EQ(kms_outcome.error().code, expected) << kms_outcome.error().text; \
    } while (false)
