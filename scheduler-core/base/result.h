// Result<T>: a value or an Error, for bad input at the edges (files, configuration, options).
// "The pod does not fit" is never an Error: that is an Outcome (engine/outcome.h).
#pragma once

#include <string>
#include <tl/expected.hpp>
#include <utility>

namespace basalt {

// `where` names the place a user can go to: "file:line:column", an option, or a field.
struct Error {
  std::string where;
  std::string message;
  std::string ToString() const { return where.empty() ? message : where + ": " + message; }
};

template <class T>
using Result = tl::expected<T, Error>;
using Status = tl::expected<void, Error>;

inline tl::unexpected<Error> Fail(std::string where, std::string message) {
  return tl::unexpected<Error>(Error{std::move(where), std::move(message)});
}

}  // namespace basalt
