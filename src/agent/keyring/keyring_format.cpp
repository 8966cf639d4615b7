#include "agent/keyring/keyring_format.hpp"

#include <algorithm>
#include <optional>

#include "base/fields.hpp"
#include "crypto/sealed.hpp"

#include "base/floor.hpp"

namespace kms::agent {
namespace {

constexpr std::string_view magic = "kmsring1";
constexpr std::string_view magic_of_any_version = "kmsring";
constexpr std::size_t header_length = 8 + 16 + 8 + 1 + 3 + 32 + 4;
constexpr Byte entries_format = 1;

// The position is the number in the file, less one.
constexpr Algorithm stored_algorithms[] = {Algorithm::xaes_256_gcm, Algorithm::aes_256_siv,
                                           Algorithm::aes_128_gcm,  Algorithm::aes_192_gcm,
                                           Algorithm::aes_256_gcm,  Algorithm::hmac_sha_256};

Byte stored_number(Algorithm algorithm) {
    const auto* found = std::ranges::find(stored_algorithms, algorithm);
    return static_cast<Byte>(found - std::begin(stored_algorithms) + 1);
}

std::optional<Algorithm> algorithm_numbered(std::uint64_t number) {
    if (number == 0 || number > std::size(stored_algorithms)) {
        return std::nullopt;
    }
    return stored_algorithms[number - 1];
}

std::optional<wire::VersionState> state_numbered(std::uint64_t number) {
    if (number == 0 || number > 3) {
        return std::nullopt;
    }
    return static_cast<wire::VersionState>(number);
}

std::optional<wire::Purpose> purpose_numbered(std::uint64_t number) {
    if (number == 0 || number > 2) {
        return std::nullopt;
    }
    return static_cast<wire::Purpose>(number);
}

Error damaged() {
    return {Code::corrupt, "the keyring is damaged"};
}

Error cut_short() {
    return {Code::malformed, "the keyring is cut short"};
}

void append_entry(SecretBytes& out, std::string_view key, const KeyringEntry& entry) {
    append_number(out, 2, key.size());
    out.append(bytes_of(key));
    append_number(out, 4, entry.version);
    append_number(out, 1, stored_number(entry.algorithm));
    append_number(out, 1, static_cast<Byte>(entry.state));
    append_number(out, 1, static_cast<Byte>(entry.purpose));
    append_number(out, 1, entry.no_export ? 1 : 0);
    append_number(out, 8, static_cast<std::uint64_t>(entry.created));
    out.append(entry.tag);
    append_number(out, 1, entry.key.size());
    out.append(entry.key.view());
}

struct NamedEntry {
    std::string_view key;
    KeyringEntry entry;
};

Result<NamedEntry> parse_entry(Cursor& cursor) {
    NamedEntry named;
    named.key = text_of(cursor.bytes(cursor.number(2)));
    named.entry.version = static_cast<std::uint32_t>(cursor.number(4));
    const auto algorithm = algorithm_numbered(cursor.number(1));
    const auto state = state_numbered(cursor.number(1));
    const auto purpose = purpose_numbered(cursor.number(1));
    const std::uint64_t no_export = cursor.number(1);
    named.entry.created = static_cast<std::int64_t>(cursor.number(8));
    cursor.fill(named.entry.tag);
    named.entry.key = SecretBytes::copy_of(cursor.bytes(cursor.number(1)));
    if (cursor.failed() || !algorithm || !state || !purpose || no_export > 1) {
        return damaged();
    }
    named.entry.algorithm = *algorithm;
    named.entry.state = *state;
    named.entry.purpose = *purpose;
    named.entry.no_export = no_export == 1;
    return named;
}

SecretBytes write_header(const KeyringHeader& header) {
    SecretBytes out;
    out.append(bytes_of(magic));
    out.append(header.id);
    append_number(out, 8, header.generation);
    append_number(out, 1, static_cast<Byte>(header.recipe.kdf));
    append_number(out, 1, header.recipe.cost.log2_n);
    append_number(out, 1, header.recipe.cost.r);
    append_number(out, 1, header.recipe.cost.p);
    out.append(header.recipe.salt);
    append_number(out, 4, 0);
    return out;
}

Status check_magic(ByteView file) {
    const std::string_view text = text_of(file);
    if (text.starts_with(magic)) {
        return {};
    }
    if (text.empty() || magic.starts_with(text)) {
        return cut_short();
    }
    if (text.starts_with(magic_of_any_version)) {
        return Error{Code::unsupported, "the keyring has another version of the format"};
    }
    return Error{Code::malformed, "the file is not a keyring"};
}

Status check_protection(const UnlockRecipe& recipe, std::uint64_t guard_length) {
    if (recipe.kdf > Kdf::scrypt || guard_length != 0) {
        return Error{Code::unsupported,
                     "the keyring is protected in a way that this program does "
                     "not know"};
    }
    if (recipe.kdf == Kdf::scrypt && !acceptable(recipe.cost)) {
        return Error{Code::unsupported, "the keyring has a cost of scrypt that is not accepted"};
    }
    return {};
}

Result<SealingKey> body_key(ByteView unlock_key) {
    SecretArray<unlock_key_length> subkey;
    KeyTag tag;
    KMS_TRY(hkdf_sha256(unlock_key, bytes_of("kms/1 keyring"), subkey.span()));
    KMS_TRY(hkdf_sha256(unlock_key, bytes_of("kms/1 keyring tag"), tag));
    return SealingKey::from_subkey(Algorithm::xaes_256_gcm, subkey.view(), tag);
}

Error why_not_opened(Error error) {
    if (error.code == Code::wrong_key) {
        return {Code::wrong_key, "the keyring is sealed under another unlock key"};
    }
    if (error.code == Code::corrupt) {
        return damaged();
    }
    return error;
}

}  // namespace

bool operator==(const UnlockRecipe& left, const UnlockRecipe& right) {
    return left.kdf == right.kdf && left.cost.log2_n == right.cost.log2_n &&
           left.cost.r == right.cost.r && left.cost.p == right.cost.p && left.salt == right.salt;
}

Result<KeyringHeader> parse_header(ByteView file) {
    KMS_TRY(check_magic(file));
    Cursor cursor(file);
    cursor.bytes(magic.size());
    KeyringHeader header;
    cursor.fill(header.id);
    header.generation = cursor.number(8);
    header.recipe.kdf = static_cast<Kdf>(cursor.number(1));
    header.recipe.cost.log2_n = static_cast<unsigned>(cursor.number(1));
    header.recipe.cost.r = static_cast<unsigned>(cursor.number(1));
    header.recipe.cost.p = static_cast<unsigned>(cursor.number(1));
    cursor.fill(header.recipe.salt);
    const std::uint64_t guard_length = cursor.number(4);
    if (cursor.failed()) {
        return cut_short();
    }
    KMS_TRY(check_protection(header.recipe, guard_length));
    return header;
}

Result<Keyring> open_keyring(ByteView file, ByteView unlock_key) {
    KMS_TRY(parse_header(file));
    const ByteView header = file.first(header_length);
    const ByteView body = file.subspan(header_length);
    KMS_ASSIGN(SealingKey key, body_key(unlock_key));
    if (body.size() < key.sealed_size(0)) {
        return cut_short();
    }
    const auto parsed = parse_sealed(body);
    if (!parsed || parsed->suite != Suite::xaes_256_gcm) {
        return damaged();
    }
    SecretBytes entries(parsed->plaintext_length);
    if (Status opened = key.open(body, header, entries.span()); !opened) {
        return why_not_opened(std::move(opened.error()));
    }
    return parse_entries(entries.view());
}

Result<SecretBytes> seal_keyring(const KeyringHeader& header, const Keyring& keyring,
                                 ByteView unlock_key) {
    SecretBytes file = write_header(header);
    const SecretBytes entries = write_entries(keyring);
    KMS_ASSIGN(SealingKey key, body_key(unlock_key));
    const std::size_t body_length = key.sealed_size(entries.size());
    if (body_length > max_keyring_size - header_length) {
        return Error{Code::too_large, "a keyring has at most 64 MiB"};
    }
    file.resize(header_length + body_length);
    KMS_TRY(key.seal(entries.view(), file.view().first(header_length),
                     file.span().subspan(header_length)));
    return file;
}

SecretBytes write_entries(const Keyring& keyring) {
    SecretBytes out;
    std::uint64_t count = 0;
    append_number(out, 1, entries_format);
    append_number(out, 4, 0);
    for (const auto& [key, versions] : keyring.keys()) {
        for (const KeyringEntry& entry : versions) {
            append_entry(out, key, entry);
        }
        count += versions.size();
    }
    store_be(out.span().subspan(1, 4), count);
    return out;
}

Result<Keyring> parse_entries(ByteView bytes) {
    Cursor cursor(bytes);
    if (cursor.number(1) != entries_format) {
        return Error{Code::unsupported, "the keyring has another version of the format"};
    }
    Keyring keyring;
    std::string_view last;
    for (std::uint64_t count = cursor.number(4); count > 0; --count) {
        KMS_ASSIGN(NamedEntry named, parse_entry(cursor));
        if (named.key < last) {
            return damaged();
        }
        last = named.key;
        KMS_TRY(keyring.restore(named.key, std::move(named.entry)));
    }
    if (cursor.failed() || cursor.left() != 0) {
        return damaged();
    }
    return keyring;
}

}  // namespace kms::agent
