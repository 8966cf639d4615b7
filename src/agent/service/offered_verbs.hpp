// The verbs that an agent offers: all that its store has, or those alone that its operator names.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace kms::agent {

class OfferedVerbs {
  public:
    OfferedVerbs() = default;  // all
    explicit OfferedVerbs(std::vector<std::string> verbs) : named_(std::move(verbs)) {}

    // Of a verb or another capability. hello, identify and ping are always included; what is said
    // in the words of create and rotate is, where one of them is.
    bool includes(std::string_view capability) const;

    // What can be named.
    static std::span<const std::string_view> names();

  private:
    bool has(std::string_view verb) const;

    std::vector<std::string> named_;  // empty: all
};

}  // namespace kms::agent
