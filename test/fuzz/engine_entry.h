// Fuzz entries for what the engine reads: journals, snapshots, policy expressions and YAML.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "policies/builtin.h"
#include "scheduler-core/config/options.h"
#include "scheduler-core/engine/engine.h"
#include "scheduler-core/engine/journal.h"
#include "test/fuzz/entry.h"

namespace basalt::fuzz {

inline const Registry& Policies() {
  static const Registry registry = [] {
    Registry r;
    RegisterBuiltinPolicies(r);
    return r;
  }();
  return registry;
}

inline std::string Little(std::uint64_t value, int bytes) {
  std::string out;
  for (int i = 0; i < bytes; ++i) out.push_back(static_cast<char>((value >> (8 * i)) & 0xFF));
  return out;
}

// The input is a row of payloads, each after its length in one byte; they are framed with correct
// checksums, so that the fuzzer gets past them. Records that read are applied; whatever was
// applied, the books balance.
inline void Journal(std::string_view input) {
  std::string bytes = JournalBuffer().bytes();  // the header
  while (!input.empty()) {
    const auto length =
        std::min<std::size_t>(static_cast<unsigned char>(input[0]), input.size() - 1);
    const std::string_view payload = input.substr(1, length);
    input.remove_prefix(1 + length);
    bytes += Little(payload.size(), 4) + Little(DigestOf(payload).lo, 8) + std::string(payload);
  }
  const auto journal = ReadJournal(bytes);
  BASALT_FUZZ_CHECK(journal.has_value());
  BASALT_FUZZ_CHECK(journal->valid_bytes <= bytes.size());
  JournalBuffer again;
  for (const JournalRecord& record : journal->records) again.Append(record);
  const auto reread = ReadJournal(again.bytes());
  BASALT_FUZZ_CHECK(reread.has_value() && reread->tail_problem.empty());
  BASALT_FUZZ_CHECK(reread->records.size() == journal->records.size());
  const auto engine = Engine::Create(*Policies().Configure("binpack"), EngineOptions{});
  for (const JournalRecord& record : journal->records) {
    if (!(*engine)->ApplyRecord(record)) break;
  }
  BASALT_FUZZ_CHECK((*engine)->Audit().has_value());
  const std::string snapshot = (*engine)->Snapshot();
  const auto restored =
      Engine::Restore(snapshot, *Policies().Configure("binpack"), EngineOptions{});
  BASALT_FUZZ_CHECK(restored.has_value());
  BASALT_FUZZ_CHECK((*restored)->StateDigest() == (*engine)->StateDigest());
}

// The input is a snapshot's body; the header with its checksum is made here. A state that was
// accepted is a fixed point: its snapshot gives the same state again.
inline void Snapshot(std::string_view input) {
  static const std::string header =  // magic, version and the version's check
      (*Engine::Create(*Policies().Configure("binpack"), EngineOptions{}))
          ->Snapshot()
          .substr(0, 16);
  const std::string bytes = header + Little(DigestOf(input).lo, 8) + std::string(input);
  const auto engine = Engine::Restore(bytes, *Policies().Configure("binpack"), EngineOptions{});
  if (!engine) {
    BASALT_FUZZ_CHECK(engine.error().message.find("damaged") == std::string::npos);
    return;
  }
  BASALT_FUZZ_CHECK((*engine)->Audit().has_value());
  const auto again =
      Engine::Restore((*engine)->Snapshot(), *Policies().Configure("binpack"), EngineOptions{});
  BASALT_FUZZ_CHECK(again.has_value());
  BASALT_FUZZ_CHECK((*again)->StateDigest() == (*engine)->StateDigest());
}

inline void Policy(std::string_view input) {
  const auto policy = Policies().Configure(input);
  if (policy) {
    BASALT_FUZZ_CHECK(policy->policy != nullptr);
  } else {
    BASALT_FUZZ_CHECK(!policy.error().message.empty());
  }
}

inline void Yaml(std::string_view input) {
  struct Inner {
    std::int64_t number = 0;
    std::string text;
  };
  struct Outer {
    std::vector<Inner> items;
    std::vector<std::string> names;
  };
  static const auto inner =
      config::OptionTable<Inner>()
          .Integer({.name = "number", .help = "", .low = 0, .high = 100}, &Inner::number)
          .Text({.name = "text", .help = "", .required = true}, &Inner::text);
  static const auto outer = config::OptionTable<Outer>()
                                .Maps({.name = "items", .help = ""}, &Outer::items, inner)
                                .TextList({.name = "names", .help = ""}, &Outer::names);
  const auto document = config::ParseYaml("f", std::string(input));
  if (!document) return;
  Outer value;
  config::Errors errors;
  outer.Parse(document->file, document->root, &value, &errors);
  for (const Inner& item : value.items) {
    BASALT_FUZZ_CHECK(item.number >= 0 && item.number <= 100);
  }
  if (!errors.ok()) BASALT_FUZZ_CHECK(!errors.Joined().message.empty());
}

}  // namespace basalt::fuzz
