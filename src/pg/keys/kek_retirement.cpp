#include "pg/keys/kek_retirement.hpp"

#include "pg/keys/data_key_batches.hpp"
#include "pg/server/collected.hpp"
#include "pg/server/key_arguments.hpp"
#include "pg/server/sqlstates.hpp"
#include "pg/session/envelope.hpp"
#include "pg/session/listed_versions.hpp"
#include "pg/stored/change_lock.hpp"

namespace kms::pg {
namespace {

struct FirstForms {
    std::vector<WrappedKey> keys;
    std::vector<std::size_t> rows;  // that they are of
};

// Without those that cannot be known by their tag.
FirstForms first_forms(const DataKeyBatch& batch) {
    FirstForms forms;
    for (std::size_t i = 0; i < batch.count; ++i) {
        const DataKeyRow& row = batch.rows[i];
        if (auto key = wrapped_key(row.name, row.key, row.key.wrapped)) {
            forms.keys.push_back(std::move(*key));
            forms.rows.push_back(i);
        }
    }
    return forms;
}

// An agent that does not say which version opens is one whose word at wrapping is all there is.
std::uint32_t opened_by(const FetchedKey& key, const DataKeyRow& row) {
    return key.kek_version != 0 ? key.kek_version : row.key.wrapped.kek_version;
}

Status count_opened(const KeyUse& kek, VersionRange versions, DataKeyBatch& batch,
                    std::uint64_t& opened) {
    KMS_ASSIGN(Line line, session_if_any->line(kek));
    const FirstForms forms = first_forms(batch);
    const auto take = [&](std::size_t index, const Result<FetchedKey>& key) -> Status {
        const std::size_t row = forms.rows[index];
        if (!key && !may_open_in_other_form(key.error().code)) {
            batch.failed = row;
            return key.error();
        }
        opened += key && !versions.has(opened_by(*key, batch.rows[row])) ? 1 : 0;
        return {};
    };
    return unwrap_keys(line, forms.keys, take);
}

std::uint64_t count_needing_in(const KeyUse& kek, VersionRange versions, DataKeyBatch& batch) {
    Session& session = pg::session();
    std::uint64_t opened = 0;
    const Failure failure = in_session(session, kek.subject(),
                                       [&] { return count_opened(kek, versions, batch, opened); });
    finish_batch(session, failure, batch);
    return batch.count - opened;
}

void tell_uncounted(const KeyUse& kek, const Failure& failure, bool force) {
    if (!force) {
        raise_unlisted(kek, failure);
    }
    ereport(WARNING, (errmsg("what the KEK \"%s\" has sealed itself is not counted",
                             shown_identifier(kek.identifier)),
                      errdetail("The agent does not list its versions: %s.",
                                reason_of(failure.cause.code))));
}

}  // namespace

const char* shown_range(VersionRange versions) {
    return versions.first == versions.last
               ? psprintf("version %u", versions.first)
               : psprintf("versions %u to %u", versions.first, versions.last);
}

void raise_unlisted(const KeyUse& use, const Failure& failure) {
    if (failure.cause.code == Code::unsupported) {
        raise_error(use.subject(), Code::unsupported,
                    "Whether rows need the version is told by its key tag, which this agent does "
                    "not list; force => true does without knowing, and what needs it is then "
                    "unreadable.");
    }
    raise(failure);
}

std::uint64_t count_needing(const KeyUse& kek, VersionRange versions) {
    lock_kek(kek.identifier);
    std::uint64_t count = 0;
    for_each_batch(kek.identifier,
                   [&](DataKeyBatch& batch) { count += count_needing_in(kek, versions, batch); });
    return count;
}

void refuse_if_wrapping(const KeyUse& kek, std::uint32_t version) {
    const std::uint64_t count = count_needing(kek, {version, version});
    if (count != 0) {
        ereport(
            ERROR,
            (errcode(sqlstate::still_needed),
             errmsg("could not %s \"%s\": data keys need its version %u", kek.action,
                    shown_identifier(kek.identifier), version),
             errdetail(
                 "Versions of data keys that the agent does not open by another one: " UINT64_FORMAT
                 ".",
                 count),
             errhint("Wrap them by another version with kms.rotate_kek(). force => true makes them "
                     "unreadable.")));
    }
}

KekTags tags_of_kek(const KeyUse& kek, VersionRange versions, bool with_destroyed, bool force) {
    if (!may_be_needed()) {
        return {{}, false};
    }
    ListedVersions listed;
    if (const Failure failure = list_versions_of_key(kek, listed)) {
        tell_uncounted(kek, failure, force);
        return {{}, false};
    }
    Collected<KeyTag> tags;
    bool may_be_cached = false;
    for (const ListedVersion& version : listed) {
        const bool is_there = version.state != wire::VersionState::destroyed;
        if (versions.has(version.version) && (is_there || with_destroyed)) {
            tags.add(version.tag);
            may_be_cached = may_be_cached || version.exportable.value_or(true);
        }
    }
    return {tags.all(), may_be_cached};
}

}  // namespace kms::pg
