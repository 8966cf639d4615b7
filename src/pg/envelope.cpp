#include "pg/envelope.hpp"

#include "base/escape.hpp"
#include "crypto/wrap_context.hpp"

namespace kms::pg {
namespace {

constexpr std::uint64_t longest_data_key = 64;

bool is_usable(const DataKeyVersion& version) {
    return version.state == wire::VersionState::enabled;
}

// What the agent finds no wrapped key is a damaged row, and no damaged value.
Error about_kek(ByteView kek, const Error& error) {
    const Code code = error.code == Code::malformed ? Code::corrupt : error.code;
    return {code, "By the KEK \"" + escape(Alphabet::identifier, kek) + "\": " + error.text};
}

Error not_the_stored_key() {
    return {Code::corrupt, "The key that was wrapped is not the one that kms.data_key says."};
}

Result<FetchedKey> unwrap_form(Line line, ByteView name, const DataKeyVersion& version,
                               const WrappedForm& form) {
    const auto algorithm = algorithm_named(version.algorithm);
    if (!algorithm) {
        return Error{Code::unsupported, "The data key is for an algorithm that is not known here."};
    }
    const std::string context = data_key_context(version.algorithm, version.version, name);
    KMS_ASSIGN(WrappedSecret opened,
               unwrap_key(line, version.kek, bytes_of(context), form.bytes, longest_data_key));
    if (opened.bytes.size() != info_of(*algorithm).key_length) {
        return not_the_stored_key();
    }
    KMS_ASSIGN(const KeyTag tag, compute_key_tag(*algorithm, opened.bytes.view()));
    if (tag != version.tag) {
        return not_the_stored_key();
    }
    return FetchedKey{version.version, *algorithm, tag, std::move(opened.bytes)};
}

}  // namespace

Result<const DataKeyVersion*> usable_version(const DataKey& stored,
                                             const std::optional<KeyTag>& tag) {
    if (stored.newest() == nullptr) {
        return Error{Code::not_found, "There is no data key of this name in kms.data_key."};
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

Result<FetchedKey> unwrap_data_key(Line line, ByteView name, const DataKeyVersion& version) {
    auto opened = unwrap_form(line, name, version, version.wrapped);
    if (opened) {
        return opened;
    }
    if (version.wrapped_before.kek_version != 0 && may_open_in_other_form(opened.error())) {
        auto opened_before = unwrap_form(line, name, version, version.wrapped_before);
        if (opened_before) {
            return opened_before;
        }
    }
    return about_kek(version.kek, opened.error());
}

void keep_what_is_stored(KeyCache& cache, HeldKeys& keys, const DataKey& stored) {
    cache.drop_versions(keys, [&](const HeldKey& held) {
        const DataKeyVersion* version = stored.with_tag(held.key.tag());
        return version == nullptr || !is_usable(*version);
    });
    const DataKeyVersion* newest = stored.newest();
    keys.current = newest != nullptr ? keys.find(newest->tag) : nullptr;
}

}  // namespace kms::pg
