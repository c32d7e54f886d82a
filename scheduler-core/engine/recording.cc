#include "scheduler-core/engine/recording.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "scheduler-core/engine/codec.h"

namespace basalt {
namespace {

constexpr std::string_view kMagic = "BSLTDCSN";
constexpr std::uint32_t kMaxFrame = 64U << 20;

std::uint64_t Checksum(std::string_view payload) { return DigestOf(payload).lo; }

std::uint32_t VersionCheck(std::uint32_t version) {
  Writer w;
  w.U32(version);
  return static_cast<std::uint32_t>(Checksum(w.Take()));
}

enum Tag : std::uint8_t { kShape = 1, kPod, kGang, kPodEviction, kGangEviction, kSeen, kGone };

struct EncodeBody {
  Writer& w;

  void Ask(const RecordedAsk& a) const {
    w.Uid(a.uid);
    w.U32(a.attempt);
    w.U32(a.shape);
    w.U64(a.job);
    w.StandingOf(a.standing);
    w.Names(a.nodes);
  }
  void Place(const RecordedPlace& p) const {
    w.I64(p.member);
    w.Text(p.node);
    w.U64(p.cards.bits());
    w.I64(p.score);
  }
  void Places(const std::vector<RecordedPlace>& places) const {
    w.U32(static_cast<std::uint32_t>(places.size()));
    for (const RecordedPlace& place : places) Place(place);
  }
  void operator()(const RecordedShape& r) const {
    w.U8(kShape);
    w.Spec(r.spec);
  }
  void operator()(const RecordedDecision& r) const {
    w.U8(kPod);
    Ask(r.ask);
    w.U8(static_cast<std::uint8_t>(r.kind));
    Place(r.place);
  }
  void operator()(const RecordedGangDecision& r) const {
    w.U8(kGang);
    w.GangSpecOf(r.gang);
    w.U8(static_cast<std::uint8_t>(r.kind));
    Places(r.places);
  }
  void operator()(const RecordedEviction& r) const {
    if (const auto* pod = std::get_if<RecordedAsk>(&r.ask)) {
      w.U8(kPodEviction);
      Ask(*pod);
    } else {
      w.U8(kGangEviction);
      w.GangSpecOf(std::get<GangSpecRecord>(r.ask));
    }
    w.U8(r.rules.preempt ? 1 : 0);
    w.U8(r.rules.preempt_across_queues ? 1 : 0);
    w.U8(r.rules.reclaim ? 1 : 0);
    w.I64(r.rules.max_victims);
    w.U8(r.rules.break_budgets ? 1 : 0);
    w.I64(r.rules.reclaim_ratio_milli);
    w.U8(r.found ? 1 : 0);
    w.U32(static_cast<std::uint32_t>(r.victims.size()));
    for (const PodUid& uid : r.victims) w.Uid(uid);
    Places(r.places);
  }
  void operator()(const RecordedSeen& r) const {
    w.U8(kSeen);
    Ask(r.ask);
  }
  void operator()(const RecordedGone& r) const {
    w.U8(kGone);
    w.Uid(r.uid);
  }
};

RecordedAsk ReadAsk(Reader& r) {
  RecordedAsk a;
  a.uid = r.Uid();
  a.attempt = r.U32();
  a.shape = r.U32();
  a.job = r.U64();
  a.standing = r.StandingOf();
  a.nodes = r.Names();
  return a;
}

RecordedPlace ReadPlace(Reader& r) {
  RecordedPlace p;
  p.member = r.I32();
  p.node = r.Text();
  p.cards = CardSet(r.U64());
  p.score = r.I32();
  return p;
}

std::vector<RecordedPlace> ReadPlaces(Reader& r) {
  std::vector<RecordedPlace> places;
  for (std::uint32_t n = r.Count(); n > 0 && r.ok(); --n) places.push_back(ReadPlace(r));
  return places;
}

bool DecodeEntry(std::string_view payload, DecisionEntry& entry) {
  Reader r(payload);
  entry.after = r.U64();
  entry.now = SimTime{r.I64()};
  const std::uint8_t tag = r.U8();
  switch (tag) {
    case kShape:
      entry.body = RecordedShape{r.Spec()};
      break;
    case kPod: {
      RecordedDecision d;
      d.ask = ReadAsk(r);
      d.kind = r.Enum(OutcomeKind::kInfeasible);
      d.place = ReadPlace(r);
      entry.body = std::move(d);
      break;
    }
    case kGang: {
      RecordedGangDecision d;
      d.gang = r.GangSpecOf();
      d.kind = r.Enum(OutcomeKind::kInfeasible);
      d.places = ReadPlaces(r);
      entry.body = std::move(d);
      break;
    }
    case kPodEviction:
    case kGangEviction: {
      RecordedEviction e;
      if (tag == kPodEviction) {
        e.ask = ReadAsk(r);
      } else {
        e.ask = r.GangSpecOf();
      }
      e.rules.preempt = r.U8() != 0;
      e.rules.preempt_across_queues = r.U8() != 0;
      e.rules.reclaim = r.U8() != 0;
      e.rules.max_victims = r.I64();
      e.rules.break_budgets = r.U8() != 0;
      e.rules.reclaim_ratio_milli = r.I32();
      e.found = r.U8() != 0;
      for (std::uint32_t n = r.Count(); n > 0 && r.ok(); --n) e.victims.push_back(r.Uid());
      e.places = ReadPlaces(r);
      entry.body = std::move(e);
      break;
    }
    case kSeen:
      entry.body = RecordedSeen{ReadAsk(r)};
      break;
    case kGone:
      entry.body = RecordedGone{r.Uid()};
      break;
    default:
      return false;
  }
  return r.done();
}

}  // namespace

std::string DecisionsHeader() {
  Writer w;
  w.U32(kDecisionsVersion);
  w.U32(VersionCheck(kDecisionsVersion));
  return std::string(kMagic) + w.Take();
}

std::string EncodeDecision(const DecisionEntry& entry) {
  Writer payload;
  payload.U64(entry.after);
  payload.I64(entry.now.us);
  std::visit(EncodeBody{payload}, entry.body);
  const std::string body = payload.Take();
  Writer frame;
  frame.U32(static_cast<std::uint32_t>(body.size()));
  frame.U64(Checksum(body));
  return frame.Take() + body;
}

Result<DecisionContents> ReadDecisions(std::string_view bytes) {
  if (bytes.size() < 16 || bytes.substr(0, 8) != kMagic) {
    return Fail("decisions", "this is no file of decisions (no header)");
  }
  Reader header(bytes.substr(8, 8));
  const std::uint32_t version = header.U32();
  if (version > kDecisionsVersion || version == 0) {
    return Fail("decisions", fmt::format("format version {}; this build reads up to {}", version,
                                         kDecisionsVersion));
  }
  if (header.U32() != VersionCheck(version)) return Fail("decisions", "the header is damaged");
  DecisionContents out;
  std::size_t at = 16;
  while (at < bytes.size()) {
    Reader frame(bytes.substr(at, std::min<std::size_t>(12, bytes.size() - at)));
    const std::uint32_t length = frame.U32();
    const std::uint64_t checksum = frame.U64();
    DecisionEntry entry;
    std::string_view problem;
    if (!frame.ok() || length > bytes.size() - at - 12) {
      problem = "torn entry";
    } else if (length > kMaxFrame) {
      problem = "absurd entry length";
    } else if (const auto payload = bytes.substr(at + 12, length); Checksum(payload) != checksum) {
      problem = "checksum does not match";
    } else if (!DecodeEntry(payload, entry)) {
      problem = "unreadable entry";
    }
    if (!problem.empty()) {
      out.tail_problem =
          fmt::format("{} at byte {}; {} bytes dropped", problem, at, bytes.size() - at);
      break;
    }
    out.entries.push_back(std::move(entry));
    at += 12 + length;
  }
  out.valid_bytes = at;
  return out;
}

void AddToDigest(const RecordedDecision& d, SimTime now, Digest* digest) {
  digest->Add(now.us);
  digest->Add(d.ask.uid.hi);
  digest->Add(d.ask.uid.lo);
  digest->Add((std::uint64_t{d.ask.attempt} << 8) | static_cast<std::uint64_t>(d.kind));
  if (d.kind != OutcomeKind::kPlaced) return;
  digest->Add(DigestOf(d.place.node).lo);
  digest->Add(d.place.cards.bits());
  digest->Add(d.place.score);
}

void AddToDigest(const RecordedGangDecision& d, SimTime now, Digest* digest) {
  digest->Add(now.us);
  digest->Add(d.gang.uid.hi);
  digest->Add(d.gang.uid.lo);
  digest->Add((std::uint64_t{d.gang.attempt} << 8) | 0x80U | static_cast<std::uint64_t>(d.kind));
  for (const RecordedPlace& place : d.places) {
    digest->Add(place.member);
    digest->Add(DigestOf(place.node).lo);
    digest->Add(place.cards.bits());
  }
}

}  // namespace basalt
