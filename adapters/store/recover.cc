#include "adapters/store/recover.h"

#include <fmt/format.h>

#include <charconv>
#include <filesystem>
#include <set>
#include <string_view>
#include <utility>

#include "adapters/store/read_file.h"
#include "scheduler-core/engine/journal.h"

namespace basalt::store {
namespace {

namespace fs = std::filesystem;

// The N of every KIND-N in the folder.
std::set<std::uint64_t> Numbers(const std::string& folder, const std::string& kind) {
  std::set<std::uint64_t> numbers;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with(kind + "-")) continue;
    std::uint64_t number = 0;
    const char* end = name.data() + name.size();
    const auto [rest, bad] = std::from_chars(name.data() + kind.size() + 1, end, number);
    if (bad == std::errc() && rest == end) numbers.insert(number);
  }
  return numbers;
}

// Whole records behind the first byte of `damaged`. A frame's fields are looked at first, as its
// checksum reads all of it; `kMostBytes` bounds what chance makes look like one.
std::size_t WholeRecordsAfter(std::string_view journal, std::size_t damaged) {
  constexpr std::size_t kFrame = 12;  // length, checksum
  constexpr std::size_t kLeast = 9;   // time, tag
  constexpr std::size_t kMostBytes = std::size_t{256} << 20;
  const std::string header(journal.substr(0, JournalHeader().size()));
  std::size_t found = 0;
  std::size_t looked_at = 0;
  for (std::size_t at = damaged + 1; at + kFrame + kLeast <= journal.size();) {
    std::size_t length = 0;
    for (int i = 3; i >= 0; --i) {
      length = length << 8 | static_cast<unsigned char>(journal[at + static_cast<std::size_t>(i)]);
    }
    const bool fits = length >= kLeast && length <= journal.size() - at - kFrame;
    // No time is so late that its highest byte is used.
    if (!fits || journal[at + kFrame + 7] != 0) {
      ++at;
      continue;
    }
    looked_at += length;
    if (looked_at > kMostBytes) break;
    const auto read = ReadJournal(header + std::string(journal.substr(at, kFrame + length)));
    const bool whole = read && read->records.size() == 1;
    found += whole ? 1 : 0;
    at += whole ? kFrame + length : 1;
  }
  return found;
}

// Applies one journal. What is torn off its end is cut from the file.
Status ApplyJournal(const std::string& path, Engine* engine, Recovered* out) {
  const Result<std::string> bytes = ReadAll(path);
  if (!bytes) return tl::unexpected<Error>(bytes.error());
  std::size_t valid = 0;
  if (bytes->size() < JournalHeader().size()) {
    out->tail_problem = "its first bytes are missing";
  } else {
    const Result<JournalContents> contents = ReadJournal(*bytes);
    if (!contents) return Fail(path, contents.error().message);
    for (std::size_t r = 0; r < contents->records.size(); ++r) {
      if (Status ok = engine->ApplyRecord(contents->records[r]); !ok) {
        return Fail(path, fmt::format("record {}: {}; move the folder away to start from what is "
                                      "synced",
                                      r, ok.error().ToString()));
      }
    }
    out->records += contents->records.size();
    out->tail_problem = contents->tail_problem;
    valid = contents->valid_bytes;
  }
  out->cut_bytes = static_cast<std::int64_t>(bytes->size() - valid);
  if (out->cut_bytes == 0) return {};
  if (valid > 0) out->lost_records += WholeRecordsAfter(*bytes, valid);
  std::error_code error;
  fs::resize_file(path, valid, error);
  if (error) return Fail(path, "cannot be cut: " + error.message());
  return {};
}

}  // namespace

Result<Recovered> Recover(const std::string& folder, const ConfiguredPolicy& policy,
                          const EngineOptions& options) {
  Recovered out;
  const std::set<std::uint64_t> snapshots = Numbers(folder, "snapshot");
  const std::set<std::uint64_t> journals = Numbers(folder, "journal");
  for (const auto* numbers : {&snapshots, &journals}) {
    if (!numbers->empty()) out.newest = std::max(out.newest, *numbers->rbegin());
  }
  for (auto number = snapshots.rbegin(); number != snapshots.rend(); ++number) {
    const std::string path = fmt::format("{}/snapshot-{}", folder, *number);
    const Result<std::string> bytes = ReadAll(path);
    if (!bytes) return tl::unexpected<Error>(bytes.error());
    Result<std::unique_ptr<Engine>> engine = Engine::Restore(*bytes, policy, options);
    if (!engine) {
      out.damaged +=
          fmt::format("{}{}: {}", out.damaged.empty() ? "" : "; ", path, engine.error().ToString());
      continue;
    }
    out.engine = std::move(*engine);
    out.snapshot = *number;
    break;
  }
  if (out.engine == nullptr) {
    if (snapshots.empty()) return out;
    return Fail(folder, "no snapshot can be read (" + out.damaged +
                            "); move the folder away to start from what is synced");
  }
  // A later journal goes on where the one before it ended.
  for (auto number = journals.lower_bound(out.snapshot); number != journals.end(); ++number) {
    // One without a snapshot was only being made.
    if (!snapshots.contains(*number)) continue;
    if (Status ok =
            ApplyJournal(fmt::format("{}/journal-{}", folder, *number), out.engine.get(), &out);
        !ok) {
      return tl::unexpected<Error>(ok.error());
    }
  }
  return out;
}

}  // namespace basalt::store
