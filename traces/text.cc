#include "traces/text.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <memory>
#include <system_error>
#include <utility>

#include "traces/sha256.h"

namespace basalt::trace {
namespace {

constexpr std::size_t kChunk = std::size_t{1} << 18;

std::string Mebibytes(std::size_t bytes) {
  return bytes >= (1U << 20) ? std::to_string(bytes >> 20) + " MiB"
                             : std::to_string(bytes) + " bytes";
}

// Text that grows by chunks and refuses to become too large or to hold a line that is.
class BoundedText {
 public:
  BoundedText(std::string name, const TextLimits& limits)
      : name_(std::move(name)), limits_(limits) {}

  Status Append(std::string_view chunk) {
    if (chunk.size() > limits_.max_bytes - text_.size()) {
      return Fail(name_,
                  "the text is larger than " + Mebibytes(limits_.max_bytes) + "; split the file");
    }
    std::size_t from = 0;
    while (from <= chunk.size()) {
      const std::size_t end = std::min(chunk.find('\n', from), chunk.size());
      in_line_ += end - from;
      if (in_line_ > limits_.max_line_bytes) {
        return Fail(At(name_, line_, 1), "the line is longer than " +
                                             Mebibytes(limits_.max_line_bytes) +
                                             "; is this a text file with one record a line?");
      }
      if (end == chunk.size()) break;
      ++line_;
      in_line_ = 0;
      from = end + 1;
    }
    text_ += chunk;
    return {};
  }
  // A file may be far longer than what is read of it before its first error.
  static constexpr std::size_t kReserve = std::size_t{64} << 20;
  void Reserve(std::size_t bytes) { text_.reserve(std::min({bytes, limits_.max_bytes, kReserve})); }
  std::string Take() { return std::move(text_); }

 private:
  std::string name_;
  TextLimits limits_;
  std::string text_;
  std::size_t line_ = 1, in_line_ = 0;
};

// Inflates gzip members one after the other, chunk by chunk, into a BoundedText.
class Inflater {
 public:
  Inflater(std::string name, BoundedText* out) : name_(std::move(name)), out_(out) {
    constexpr int kGzipOnly = 16 + MAX_WBITS;
    ready_ = inflateInit2(&stream_, kGzipOnly) == Z_OK;
  }
  ~Inflater() {
    if (ready_) inflateEnd(&stream_);
  }
  Inflater(const Inflater&) = delete;
  Inflater& operator=(const Inflater&) = delete;

  Status Feed(std::string_view bytes) {
    if (!ready_) return Fail(name_, "zlib could not start; is there enough memory?");
    stream_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
    stream_.avail_in = static_cast<uInt>(bytes.size());
    while (stream_.avail_in > 0) {
      if (ended_) {  // another member follows
        inflateReset(&stream_);
        ended_ = false;
      }
      // Inflate may hold output back when the buffer is full, so go on until it is not.
      do {
        stream_.next_out = reinterpret_cast<Bytef*>(buffer_.data());
        stream_.avail_out = static_cast<uInt>(buffer_.size());
        const uInt before = stream_.avail_in;
        const int code = inflate(&stream_, Z_NO_FLUSH);
        consumed_ += before - stream_.avail_in;
        started_ = true;
        if (code != Z_OK && code != Z_STREAM_END && code != Z_BUF_ERROR) {
          const char* why = stream_.msg != nullptr ? stream_.msg : "no more is known";
          return Fail(name_, "not valid gzip data at byte " + std::to_string(consumed_) + " (" +
                                 why + "); a file that is not compressed must not end in .gz");
        }
        const Status added = out_->Append({buffer_.data(), buffer_.size() - stream_.avail_out});
        if (!added) return added;
        ended_ = code == Z_STREAM_END;
      } while (stream_.avail_out == 0 && !ended_);
    }
    return {};
  }

  Status Finish() {
    if (started_ && ended_) return {};
    return Fail(name_, "the gzip data ends early, after " + std::to_string(consumed_) +
                           " bytes; the file is truncated, copy it again");
  }

 private:
  std::string name_;
  BoundedText* out_;
  z_stream stream_{};
  bool ready_ = false, started_ = false, ended_ = false;
  std::size_t consumed_ = 0;
  std::string buffer_ = std::string(kChunk, '\0');
};

std::string SystemMessage(int code) { return std::generic_category().message(code); }

// Length of the UTF-8 sequence at the front, 0 when it is invalid (RFC 3629: no overlong forms,
// no surrogates, nothing above U+10FFFF) or NUL.
std::size_t SequenceLength(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(0);
  if (lead < 0x80) return lead == 0 ? 0 : 1;
  const std::size_t length = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
  if (lead < 0xc2 || lead > 0xf4 || text.size() < length) return 0;
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return 0;
  }
  if ((lead == 0xe0 && byte(1) < 0xa0) || (lead == 0xed && byte(1) > 0x9f) ||
      (lead == 0xf0 && byte(1) < 0x90) || (lead == 0xf4 && byte(1) > 0x8f)) {
    return 0;
  }
  return length;
}

// The first byte that is NUL or not UTF-8; npos when there is none.
std::size_t FirstBadByte(std::string_view text) {
  std::size_t i = 0;
  while (i < text.size()) {
    // Eight plain ASCII bytes at a time: no high bit set and no zero byte.
    if (text.size() - i >= 8) {
      std::uint64_t word;
      std::memcpy(&word, text.data() + i, 8);
      constexpr std::uint64_t kHigh = 0x8080808080808080ULL, kLow = 0x0101010101010101ULL;
      if (((word | (word - kLow)) & kHigh) == 0) {
        i += 8;
        continue;
      }
    }
    const std::size_t length = SequenceLength(text.substr(i));
    if (length == 0) return i;
    i += length;
  }
  return std::string_view::npos;
}

}  // namespace

Result<std::string> Gunzip(const std::string& name, std::string_view bytes,
                           const TextLimits& limits) {
  BoundedText text(name, limits);
  Inflater inflater(name, &text);
  while (!bytes.empty()) {
    const std::string_view chunk = bytes.substr(0, kChunk);
    if (const Status fed = inflater.Feed(chunk); !fed) return tl::unexpected(fed.error());
    bytes.remove_prefix(chunk.size());
  }
  if (const Status done = inflater.Finish(); !done) return tl::unexpected(done.error());
  return text.Take();
}

Result<std::string> ReadText(const std::string& path, SourceFile* source,
                             const TextLimits& limits) {
  if (path.find('\0') != std::string::npos) return Fail("", "a path holds a NUL byte");
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    const int code = errno;
    return Fail(path, code == ENOENT ? "there is no such file"
                                     : "cannot be opened: " + SystemMessage(code));
  }
  const std::unique_ptr<const int, void (*)(const int*)> closer(&fd,
                                                                [](const int* f) { close(*f); });
  struct stat info{};
  if (fstat(fd, &info) == 0 && S_ISDIR(info.st_mode)) {
    return Fail(path, "is a directory; name a file");
  }
  const bool compressed = path.ends_with(".gz");
  BoundedText text(path, limits);
  Inflater inflater(path, &text);
  if (!compressed && info.st_size > 0) text.Reserve(static_cast<std::size_t>(info.st_size));
  Sha256 sha;
  std::size_t total = 0;
  std::string chunk(kChunk, '\0');
  while (true) {
    const ssize_t got = read(fd, chunk.data(), chunk.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return Fail(path, "cannot be read: " + SystemMessage(errno));
    if (got == 0) break;
    const std::string_view bytes(chunk.data(), static_cast<std::size_t>(got));
    if (total == 0 && !compressed && bytes.starts_with("\x1f\x8b")) {
      return Fail(path, "is compressed with gzip but its name does not end in .gz; rename it");
    }
    total += bytes.size();
    if (total > limits.max_bytes) {
      return Fail(path,
                  "the file is larger than " + Mebibytes(limits.max_bytes) + "; split the file");
    }
    if (source != nullptr) sha.Update(bytes);
    const Status added = compressed ? inflater.Feed(bytes) : text.Append(bytes);
    if (!added) return tl::unexpected(added.error());
  }
  if (compressed) {
    if (const Status done = inflater.Finish(); !done) return tl::unexpected(done.error());
  }
  if (source != nullptr) {
    source->name = std::filesystem::path(path).filename().string();
    source->sha256 = sha.Hex();
  }
  return text.Take();
}

bool CheckText(const std::string& name, std::string_view* text, Diagnostics* diagnostics) {
  if (text->starts_with("\xef\xbb\xbf")) text->remove_prefix(3);
  const std::size_t bad = FirstBadByte(*text);
  if (bad == std::string_view::npos) return true;
  const std::string_view before = text->substr(0, bad);
  const std::size_t line = 1 + static_cast<std::size_t>(std::ranges::count(before, '\n'));
  const std::size_t line_begin = before.rfind('\n') + 1;  // npos + 1 is 0
  const auto column = 1 + std::ranges::count_if(before.substr(line_begin), [](char c) {
                        return (static_cast<unsigned char>(c) & 0xc0) != 0x80;
                      });
  diagnostics->Add(At(name, line, static_cast<std::size_t>(column)),
                   (*text)[bad] == '\0' ? "a NUL byte; the file is damaged or not text"
                                        : "not valid UTF-8; save the file as UTF-8");
  return false;
}

bool IsUtf8WithoutNul(std::string_view text) {
  return FirstBadByte(text) == std::string_view::npos;
}

std::string At(const std::string& name, std::size_t line, std::size_t column) {
  std::string out = name + ':' + std::to_string(line);
  if (column != 0) out += ':' + std::to_string(column);
  return out;
}

std::string Quoted(std::string_view text) {
  constexpr std::size_t kLongest = 40;
  std::size_t keep = std::min(text.size(), kLongest);
  // Do not cut a character in two.
  while (keep > 0 && keep < text.size() &&
         (static_cast<unsigned char>(text[keep]) & 0xc0) == 0x80) {
    --keep;
  }
  std::string out = "\"";
  for (const char c : text.substr(0, keep)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte != 0x7f) {
      out += c;
    } else if (c == '\n' || c == '\r' || c == '\t') {
      out += c == '\n' ? "\\n" : c == '\r' ? "\\r" : "\\t";
    } else {
      static constexpr char kHex[] = "0123456789abcdef";
      out += "\\x";
      out += kHex[byte >> 4];
      out += kHex[byte & 15];
    }
  }
  out += keep < text.size() ? "...\"" : "\"";
  return out;
}

}  // namespace basalt::trace
