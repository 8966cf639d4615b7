// Files for the eyes of one user: mode 0600, written whole or not at all.
//
// A new state is written to a file of its own in the same folder, whose name PATH.new-XXXXXX is
// drawn; made durable, it then takes PATH in one step. After a crash PATH stands for the old bytes
// or for the new ones. The file of its own may be left over then: nothing removes it, since nothing
// but what this call has made is ever removed.
#pragma once

#include <sys/stat.h>

#include <optional>
#include <string>

#include "base/bytes.hpp"
#include "base/clock.hpp"
#include "base/place.hpp"
#include "base/result.hpp"
#include "base/secret.hpp"

namespace kms::agent {

struct Owner {
    uid_t user;
    gid_t group;
};

// Everything from the descriptor's position to its end. Code::too_large beyond `limit` bytes.
// `name` is for messages.
Result<SecretBytes> read_all(int fd, std::size_t limit, const std::string& name);

// Code::denied unless a regular file of mode 0600 exactly, owned by the effective user (of anybody
// where root runs).
Status check_private(const struct stat& status, const std::string& path);

// Code::denied where a regular file may be read or written by its group or by others.
Status check_closed_to_others(const struct stat& status, const std::string& path);

// flock(LOCK_EX). Code::unavailable when another process holds it for longer than `patience`.
Status lock_exclusively(int fd, milliseconds patience, const std::string& path);

// Never replaces a file: Code::invalid where `path` exists. Code::io. Without an owner it belongs
// to whoever makes it. For an owner who is another user Code::denied where the folder is not that
// user's and a symbolic link leads to it. As long as it has its first name too, it is locked.
Status create_private_file(const std::string& path, ByteView bytes,
                           const std::optional<Owner>& owner = std::nullopt);

// The file keeps the owner and group of `old`. The caller holds a lock that keeps other writers of
// it away. Code::io; the old file then stands, except where the error says that the folder could
// not be made durable.
Status replace_private_file(const Place& place, const struct stat& old, ByteView bytes);

}  // namespace kms::agent
