#include "adapters/store/recording.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <sstream>
#include <utility>

#include "adapters/store/read_file.h"

namespace basalt::store {
namespace {

namespace fs = std::filesystem;

constexpr const char* kCutHint =
    "; with --cut-tail what comes before it is replayed, and a server that starts on the store "
    "cuts a journal's torn end";

}  // namespace

Result<Recording> Recording::Open(const std::string& folder, bool cut_tail) {
  Recording out;
  out.folder_ = folder;
  out.cut_tail_ = cut_tail;
  std::error_code error;
  if (!fs::is_directory(folder, error)) {
    return Fail(folder, "is no folder; name a cluster's folder in a store: STORE/CLUSTER");
  }
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with("snapshot-")) continue;
    std::uint64_t number = 0;
    const char* end = name.data() + name.size();
    const auto [rest, bad] = std::from_chars(name.data() + 9, end, number);
    if (bad == std::errc() && rest == end) out.generations_.push_back(number);
  }
  if (out.generations_.empty()) {
    return Fail(folder, "has no snapshot-N; name a cluster's folder in a store: STORE/CLUSTER");
  }
  std::sort(out.generations_.begin(), out.generations_.end());
  const auto cut = ReadIfThere(folder + "/CUT");
  if (!cut) return tl::unexpected<Error>(cut.error());
  if (*cut) {
    std::string number;
    std::istringstream(**cut) >> number;
    out.notes_.push_back("generations up to " + number +
                         " were removed by the limit (record_mib): the recording begins later "
                         "than the server's recording did");
  }
  for (std::size_t i = 1; i < out.generations_.size(); ++i) {
    if (out.generations_[i] == out.generations_[i - 1] + 1) continue;
    out.notes_.push_back(fmt::format("generations {} to {} are missing",
                                     out.generations_[i - 1] + 1, out.generations_[i] - 1));
  }
  return out;
}

Result<RecordedSegment> Recording::Read(std::size_t index) {
  RecordedSegment out;
  out.generation = generations_[index];
  const auto path = [&](const char* kind) {
    return fmt::format("{}/{}-{}", folder_, kind, out.generation);
  };
  const auto tail = [&](const std::string& file, const std::string& problem) -> Status {
    if (problem.empty()) return {};
    if (!cut_tail_) return Fail(file, problem + kCutHint);
    const std::string note = file + ": " + problem;
    if (std::find(notes_.begin(), notes_.end(), note) == notes_.end()) notes_.push_back(note);
    return {};
  };
  Result<std::string> snapshot = ReadAll(path("snapshot"));
  if (!snapshot) return tl::unexpected<Error>(snapshot.error());
  out.snapshot = std::move(*snapshot);
  const Result<std::string> journal = ReadAll(path("journal"));
  if (!journal) return tl::unexpected<Error>(journal.error());
  Result<JournalContents> records = ReadJournal(*journal);
  if (!records) return Fail(path("journal"), "at byte 0: " + records.error().message);
  out.journal = std::move(*records);
  if (Status ok = tail(path("journal"), out.journal.tail_problem); !ok) {
    return tl::unexpected<Error>(ok.error());
  }
  const auto decisions = ReadIfThere(path("decisions"));
  if (!decisions) return tl::unexpected<Error>(decisions.error());
  if (!*decisions) return out;
  Result<DecisionContents> entries = ReadDecisions(**decisions);
  if (!entries) return Fail(path("decisions"), "at byte 0: " + entries.error().message);
  if (Status ok = tail(path("decisions"), entries->tail_problem); !ok) {
    return tl::unexpected<Error>(ok.error());
  }
  out.decisions = std::move(entries->entries);
  out.has_decisions = true;
  return out;
}

}  // namespace basalt::store
