#include "pg/session/envelope.hpp"

#include "base/escape.hpp"
#include "crypto/wrap_context.hpp"

namespace kms::pg {
namespace {

bool is_usable(const DataKeyVersion& version) {
    return version.state == wire::VersionState::enabled;
}

// Where the agent has no such KEK, or none that opens it, that is said in words for everybody.
Error about_kek(ByteView kek, const Error& error) {
    const std::string by = "By the KEK \"" + escape(Alphabet::identifier, kek) + "\": ";
    const Code code = key_failure(error.code);
    if (code == Code::not_found) {
        return {code, by + "the agent has none that opens it. Its keys are, as a rule, older than "
                           "those that have wrapped the data key, or others: give it the newest "
                           "copy of them."};
    }
    return {code, by + error.text, error.of_agent};
}

}  // namespace

Code key_failure(Code code) {
    switch (code) {
        case Code::malformed:
        case Code::corrupt:
            return Code::damaged_key;
        case Code::wrong_key:
            return Code::not_found;
        default:
            return code;
    }
}

Result<const DataKeyVersion*> usable_version(const DataKey& stored,
                                             const std::optional<KeyTag>& tag) {
    if (stored.newest() == nullptr) {
        return Error{
            Code::not_found,
            "There is no data key of this name. What was sealed under one needs its row of "
            "kms.data_key back; kms.create_data_key() makes a new one."};
    }
    const DataKeyVersion* version = tag ? stored.with_tag(*tag) : stored.newest();
    if (version == nullptr) {
        return Error{Code::wrong_key,
                     "No version of the data key has the tag " + wire::tag_word(*tag) + "."};
    }
    if (!is_usable(*version)) {
        return Error{Code::disabled, "Version " + std::to_string(version->version) + " is " +
                                         std::string(wire::state_word(version->state)) + "."};
    }
    return version;
}

Result<WrappedKey> wrapped_key(ByteView name, const DataKeyVersion& version,
                               const WrappedForm& form) {
    const auto algorithm = algorithm_named(version.algorithm);
    if (!algorithm) {
        return Error{Code::unsupported, "The data key is for an algorithm that is not known here."};
    }
    return WrappedKey{version.kek, data_key_context(version.algorithm, version.version, name),
                      form.bytes,  version.version,
                      *algorithm,  version.tag};
}

Result<FetchedKey> unwrap_version(Line line, ByteView name, const DataKeyVersion& version) {
    KMS_ASSIGN(const WrappedKey newer, wrapped_key(name, version, version.wrapped));
    auto opened = unwrap_data_key(line, newer);
    if (opened) {
        return opened;
    }
    if (version.wrapped_before.kek_version != 0 && may_open_in_other_form(opened.error().code)) {
        KMS_ASSIGN(const WrappedKey older, wrapped_key(name, version, version.wrapped_before));
        if (auto opened_before = unwrap_data_key(line, older)) {
            return opened_before;
        }
    }
    return about_kek(version.kek, opened.error());
}

void keep_what_is_there(KeyCache& cache, HeldKeys& keys, const KeyUse& use) {
    cache.drop_versions(keys, [&](const HeldKey& held) {
        const KeyTag& tag = held.key.tag();
        const DataKeyVersion* version = use.stored != nullptr ? use.stored->with_tag(tag) : nullptr;
        return version != nullptr ? !is_usable(*version) : held.is_stored || use.is_stored(tag);
    });
    for (const auto& held : keys.versions) {
        held->is_stored = use.is_stored(held->key.tag());
    }
    if (use.stored != nullptr) {
        const DataKeyVersion* newest = use.stored->newest();
        keys.current = newest != nullptr ? keys.find(newest->tag) : nullptr;
    }
}

}  // namespace kms::pg
