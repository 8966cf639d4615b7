// A keyring's file: whether it changed, its bytes, and writers that take turns.
//
// Readers take no lock: a file is replaced in one step, so what they have opened is whole. Writers
// lock the file itself (flock), make sure that its name still stands for what they locked, and then
// read and replace that very file, wherever its path leads by then.
#pragma once

#include <sys/stat.h>

#include <string>

#include "agent/keyring/private_file.hpp"
#include "base/bytes.hpp"
#include "base/clock.hpp"
#include "base/place.hpp"
#include "base/result.hpp"
#include "base/secret.hpp"
#include "base/unique_fd.hpp"

namespace kms::agent {

// What a file was like when it was read. Keeps it open, so that a new file cannot have its number.
struct ReadMark {
    UniqueFd file;
    struct stat status {};
};

struct KeyringBytes {
    ReadMark mark;
    SecretBytes bytes;
};

// The right to replace a keyring's file, until it goes out of scope.
class KeyringLock {
  public:
    // What is locked. Code::too_large; Code::io.
    Result<SecretBytes> read() const;

    // Code::io: see replace_private_file.
    Status replace(ByteView bytes);

    Owner owner() const { return {status_.st_uid, status_.st_gid}; }

  private:
    friend class KeyringFile;
    KeyringLock(UniqueFd file, const struct stat& status, Place place)
        : file_(std::move(file)), status_(status), place_(std::move(place)) {}

    UniqueFd file_;
    struct stat status_;
    Place place_;  // behind every symbolic link
};

class KeyringFile {
  public:
    explicit KeyringFile(std::string path) : path_(std::move(path)) {}

    const std::string& path() const { return path_; }

    bool exists() const;

    // Code::not_found; Code::denied: see check_private; Code::too_large; Code::io.
    Result<KeyringBytes> read() const;

    // Whether read() would find what it found then: one system call.
    bool unchanged_since(const ReadMark& mark) const;

    // Puts the name of a file that has it only just now on disk, where it can: what is sealed with
    // a key that a power loss takes back is lost.
    void make_durable(const ReadMark& mark) const;

    // Code::not_found; Code::denied; Code::unavailable when locked for longer than `patience`;
    // Code::invalid where the file has another name, which would stand for the old keys.
    Result<KeyringLock> lock(milliseconds patience) const;

    // Code::invalid where the file exists; Code::io.
    Status create(ByteView bytes) const;

  private:
    Result<ReadMark> open_checked(int folder, const std::string& name, int flags) const;
    bool leads_to(const struct stat& file) const;

    std::string path_;
};

}  // namespace kms::agent
