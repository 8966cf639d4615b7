// What the serve loop asks of a place that holds keys. One implementation a kind of store; a verb
// that a store does not override answers `unsupported`, and is not among its capabilities.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.hpp"
#include "base/result.hpp"
#include "base/secret.hpp"
#include "crypto/algorithm.hpp"
#include "wire/verbs.hpp"

namespace kms::agent {

struct KeyVersion {
    std::uint32_t version;
    Algorithm algorithm;
    KeyTag tag;
};

struct DescribedVersion {
    KeyVersion version;
    wire::KeyUses uses;
};

struct StoredKey {
    KeyVersion version;
    SecretBytes key;
};

// How a key comes into being: made at random, or imported where `key` is not empty.
struct NewKey {
    Algorithm algorithm = default_algorithm;
    wire::Purpose purpose = wire::Purpose::seal;
    bool no_export = false;  // a key that wraps never leaves, whatever this says
    ByteView key = {};
    std::uint32_t after = 0;  // a version number that was used before an older keyring was put back
};

// A version that was made elsewhere, and goes on here under its number.
struct ImportedVersion {
    KeyVersion version;
    wire::VersionState state;
    std::int64_t created;  // seconds since 1970, UTC
    ByteView key;          // empty of a destroyed one
};

// What a search term is made of.
struct WantedTerm {
    unsigned bits;
    std::optional<KeyTag> tag;
    ByteView context;
    ByteView data;
};

// Where a store puts the body of its reply, once its length is known: values are sealed and opened
// in place. The bytes are dropped and wiped where the store then fails.
class ReplyBody {
  public:
    virtual ~ReplyBody() = default;

    // Once a request. `used`: the version that seals or opens; nullptr where the store cannot say.
    // Code::too_large beyond what a reply may carry. The bytes are not initialised.
    virtual Result<ByteSpan> allot(std::size_t length, const KeyVersion* used) = 0;
};

class KeyStore {
  public:
    virtual ~KeyStore() = default;

    // Words for the handshake: the verbs that are overridden, `no-export` and `purpose` where
    // create knows them, `after` where create and rotate do.
    virtual std::vector<std::string_view> capabilities() const = 0;

    // Called before requests are answered, whenever time may have passed: after each read and each
    // write. A store that cannot work any more
    // answers Code::unavailable with the reason until it can.
    virtual void refresh() {}

    // Where replies go. A change that had to wait is not made for a client that has gone meanwhile.
    void answer_to(int client) { client_ = client; }

    // Who asks from now on (claims of the server): for stores that have a policy.
    virtual void identify(const std::vector<wire::Field>&) {}

    // The current version, whatever its state.
    virtual Result<DescribedVersion> describe(ByteView) { return unsupported(); }

    // The current version, or the one with `tag`.
    virtual Result<StoredKey> get(ByteView, const std::optional<KeyTag>&) { return unsupported(); }

    // Key, context, plaintext or ciphertext.
    virtual Status encrypt(ByteView, ByteView, ByteView, ReplyBody&) { return unsupported(); }
    virtual Status decrypt(ByteView, ByteView, ByteView, ReplyBody&) { return unsupported(); }

    // The same with a key or a secret, by a key that need not leave the store.
    virtual Status wrap(ByteView, ByteView, ByteView, ReplyBody&) { return unsupported(); }
    virtual Status unwrap(ByteView, ByteView, ByteView, ReplyBody&) { return unsupported(); }

    // As encrypt, under the version with the tag, of a key whose ciphertexts are deterministic.
    virtual Status encrypt_as(ByteView, const KeyTag&, ByteView, ByteView, ReplyBody&) {
        return unsupported();
    }

    // All 256 bits of a search term, under the current version or the one with a tag.
    virtual Status mac(ByteView, const WantedTerm&, ReplyBody&) { return unsupported(); }

    virtual Result<KeyVersion> create(ByteView, const NewKey&) { return unsupported(); }
    virtual Result<KeyVersion> import_version(ByteView, const ImportedVersion&) {
        return unsupported();
    }
    virtual Result<KeyVersion> rotate(ByteView, std::uint32_t /*after*/) { return unsupported(); }
    virtual Status change_version(ByteView, std::uint32_t, wire::VersionState) {
        return unsupported();
    }

    // Every version of every key whose identifier begins with the prefix.
    virtual Result<std::vector<wire::ListedVersion>> list(ByteView) { return unsupported(); }

  protected:
    bool is_awaited() const;

    static Error unsupported() { return {Code::unsupported, "this key store does not offer that"}; }

  private:
    int client_ = -1;
};

}  // namespace kms::agent
