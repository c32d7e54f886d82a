// Whole input files as text: bounded, decompressed when the name ends in ".gz", checked to be
// UTF-8 without NUL. Everything that parses takes a string_view, so that fuzzers and tests need no
// file; this is the only place that opens one for reading.
#pragma once

#include <string>
#include <string_view>

#include "scheduler-core/base/result.h"
#include "scheduler-core/base/suggest.h"
#include "traces/diagnostics.h"
#include "traces/limits.h"
#include "traces/trace.h"

namespace basalt::trace {

struct TextLimits {
  std::size_t max_bytes = kMaxTextBytes;       // of the file, and of the text after decompression
  std::size_t max_line_bytes = kMaxLineBytes;  // reading stops there: the line is never held whole
};

// The text of a file. Errors name the path (and the byte for broken gzip). When `source` is not
// null it gets the file's name without folder and the SHA-256 of its bytes before decompression.
Result<std::string> ReadText(const std::string& path, SourceFile* source = nullptr,
                             const TextLimits& limits = {});

// Decompresses gzip (one or more members). `name` is for messages. Truncated input, a wrong
// checksum and bytes after the last member are errors.
Result<std::string> Gunzip(const std::string& name, std::string_view bytes,
                           const TextLimits& limits = {});

// Drops a UTF-8 byte order mark from the front. Reports the first NUL or invalid UTF-8 as
// file:line:column and returns false then.
bool CheckText(const std::string& name, std::string_view* text, Diagnostics* diagnostics);

bool IsUtf8WithoutNul(std::string_view text);

// "12" -> "file:12", with a column "file:12:3".
std::string At(const std::string& name, std::size_t line, std::size_t column = 0);

// A piece of input for a message: quoted, control characters escaped, cut at 40 bytes.
std::string Quoted(std::string_view text);

// `; did you mean "name"?` when a known name is near, else `otherwise`.
template <class Names>
std::string DidYouMean(std::string_view word, const Names& names, std::string_view otherwise = {}) {
  const std::string near = word.empty() ? std::string() : NearestName(word, names);
  return near.empty() ? std::string(otherwise) : "; did you mean \"" + near + "\"?";
}

}  // namespace basalt::trace
