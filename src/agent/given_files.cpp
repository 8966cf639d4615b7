#include "agent/given_files.hpp"

#include <sys/stat.h>

#include "base/place.hpp"

#include "base/floor.hpp"

namespace kms::agent {
namespace {

bool same_inode(const std::string& left, const std::string& right) {
    struct stat a {};
    struct stat b {};
    return stat(left.c_str(), &a) == 0 && stat(right.c_str(), &b) == 0 && is_same_file(a, b);
}

std::string name_of(const std::string& path) {
    return path.substr(path.rfind('/') + 1);
}

bool same_name(const std::string& left, const std::string& right) {
    return name_of(left) == name_of(right) && same_inode(folder_of(left), folder_of(right));
}

bool same_file(const std::string& left, const std::string& right) {
    return same_inode(left, right) || same_name(left, right);
}

}  // namespace

Status check_differs(const GivenFile& first, const std::vector<GivenFile>& others) {
    for (const GivenFile& other : others) {
        if (!first.path.empty() && !other.path.empty() && same_file(first.path, other.path)) {
            return Error{Code::invalid, std::string(first.option) + " " + first.path + " and " +
                                            std::string(other.option) + " " + other.path +
                                            " are the same file: give two"};
        }
    }
    return {};
}

}  // namespace kms::agent
