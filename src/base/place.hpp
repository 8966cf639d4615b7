// Where a file is: its folder, which stays the one that was opened, and its name there. By a path
// alone two system calls may work in two folders, as where a part of it is moved away meanwhile or
// becomes a symbolic link.
#pragma once

#include <sys/stat.h>

#include <string>

#include "base/result.hpp"
#include "base/unique_fd.hpp"

namespace kms {

struct Place {
    std::string path;  // for messages
    UniqueFd folder;
    std::string name;

    // Whether the name stands for this very file, and not for a link to it.
    bool is_of(const struct stat& file) const;
};

// The path of the folder that a file is in.
std::string folder_of(const std::string& path);

// Code::io.
Result<Place> open_place(const std::string& path);

// Of a file that is there, behind every symbolic link. Code::not_found, Code::io.
Result<Place> find_place(const std::string& path);

// Gives a file another name of its folder, which nothing has. False, and errno says why: EEXIST
// where something has it. In one step, but where the file system has none that never replaces, as
// on NFS: by a second name, and then the first is removed.
bool rename_to_free_name(const std::string& from, const Place& to);

bool is_same_file(const struct stat& left, const struct stat& right);

}  // namespace kms
