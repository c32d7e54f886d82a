#include "scheduler-core/engine/journal.h"

#include <fmt/format.h>

#include <utility>

#include "scheduler-core/base/digest.h"
#include "scheduler-core/engine/codec.h"

namespace basalt {
namespace {

constexpr std::string_view kJournalMagic = "BSLTJRNL";
constexpr std::string_view kSnapshotMagic = "BSLTSNAP";
constexpr std::uint32_t kMaxFrame = 64U << 20;

std::uint64_t Checksum(std::string_view payload) { return DigestOf(payload).lo; }

// The word after the version, so that a damaged version is not taken for another one. Versions
// before 3 had 0 there.
std::uint32_t VersionCheck(std::uint32_t version) {
  if (version < 3) return 0;
  Writer w;
  w.U32(version);
  return static_cast<std::uint32_t>(Checksum(w.Take()));
}

enum Tag : std::uint8_t {
  kPolicy = 1,
  kShape,
  kNodeAdded,
  kNodeRemoved,
  kCordoned,
  kCardHealth,
  kPodObserved,
  kPodGone,
  kDecision,
  kReserved,
  kConfirmed,
  kReleased,
  kExpired,
  kGangReserved,
  kGangDecision,
  kGangConfirmed,
  kGangReleased,
  kCheckpointed,
  kQueueSet,
  kQueueRemoved,
  kBudgetSet,
  kNominated,
  kGangNominated,
  kCardCordoned = 40,
  kCardMode,
  kCardRules,
  kNodeChanged,
  kRenewed,
};

struct EncodeBody {
  Writer& w;
  void operator()(const PolicyRecord& r) const {
    w.U8(kPolicy);
    w.Text(r.expression);
    w.U64(r.seed);
    w.U32(static_cast<std::uint32_t>(r.target.size()));
    for (const PolicyRecord::Class& c : r.target) {
      w.Spec(c.spec);
      w.I64(c.count);
    }
    w.I64(r.target_count);
    w.I64(r.lease_ttl_us);
  }
  void operator()(const ShapeRecord& r) const {
    w.U8(kShape);
    w.Spec(r.spec);
  }
  void operator()(const EventRecord& r) const { std::visit(*this, r.event); }
  void operator()(const NodeAdded& e) const {
    w.U8(kNodeAdded);
    w.Node(e.spec);
  }
  void operator()(const NodeRemoved& e) const {
    w.U8(kNodeRemoved);
    w.Text(e.node);
  }
  void operator()(const NodeCordoned& e) const {
    w.U8(kCordoned);
    w.Text(e.node);
    w.U8(e.cordoned ? 1 : 0);
  }
  void operator()(const CardHealthChanged& e) const {
    w.U8(kCardHealth);
    w.Text(e.node);
    w.I64(e.card);
    w.U8(e.healthy ? 1 : 0);
  }
  void operator()(const CardCordoned& e) const {
    w.U8(kCardCordoned);
    w.Text(e.node);
    w.I64(e.card);
    w.U8(e.cordoned ? 1 : 0);
  }
  void operator()(const CardModeChanged& e) const {
    w.U8(kCardMode);
    w.Text(e.node);
    w.I64(e.card);
    w.U8(static_cast<std::uint8_t>(e.mode));
  }
  void operator()(const CardRulesSet& e) const {
    w.U8(kCardRules);
    w.Rules(e.rules);
  }
  void operator()(const NodeChanged& e) const {
    w.U8(kNodeChanged);
    w.Node(e.spec);
  }
  void operator()(const PodObserved& e) const {
    w.U8(kPodObserved);
    w.Uid(e.uid);
    w.U32(e.attempt);
    w.Spec(e.spec);
    w.U64(e.job);
    w.Text(e.node);
    w.U64(e.cards.bits());
    w.Numa(e.numa);
    w.StandingOf(e.standing);
  }
  void operator()(const PodGone& e) const {
    w.U8(kPodGone);
    w.Uid(e.uid);
    w.U8(e.failed ? 1 : 0);
  }
  void operator()(const PodCheckpointed& e) const { OneUid(kCheckpointed, e.uid); }
  void operator()(const QueueSet& e) const {
    w.U8(kQueueSet);
    w.Queue(e.spec);
  }
  void operator()(const QueueRemoved& e) const {
    w.U8(kQueueRemoved);
    w.Text(e.name);
  }
  void operator()(const DisruptionBudgetSet& e) const {
    w.U8(kBudgetSet);
    w.Budget(e);
  }
  void operator()(const DecisionRecord& r) const {
    w.U8(kDecision);
    w.Uid(r.uid);
    w.U32(r.attempt);
    w.U32(r.shape);
    w.U64(r.job);
    w.U8(static_cast<std::uint8_t>(r.kind));
    w.StandingOf(r.standing);
    w.Names(r.nodes);
  }
  void operator()(const ReservedRecord& r) const {
    w.U8(kReserved);
    Reserved(r);
  }
  void Reserved(const ReservedRecord& r) const {
    w.Uid(r.uid);
    w.U32(r.attempt);
    w.U32(r.shape);
    w.U64(r.job);
    w.Text(r.node);
    w.U64(r.cards.bits());
    w.U64(r.epoch);
    w.I64(r.expires.us);
    w.Numa(r.numa);
    w.StandingOf(r.standing);
    w.Names(r.nodes);
  }
  void operator()(const ConfirmedRecord& r) const { OneUid(kConfirmed, r.uid); }
  void operator()(const ReleasedRecord& r) const { OneUid(kReleased, r.uid); }
  void operator()(const ExpiredRecord& r) const { OneUid(kExpired, r.uid); }
  void operator()(const GangReservedRecord& r) const {
    w.U8(kGangReserved);
    Reserved(r);
  }
  void Reserved(const GangReservedRecord& r) const {
    w.GangSpecOf(r.gang);
    w.U32(static_cast<std::uint32_t>(r.members.size()));
    for (const GangReservedRecord::Member& m : r.members) {
      w.I64(m.member);
      w.Text(m.node);
      w.U64(m.cards.bits());
      w.Numa(m.numa);
    }
    w.U64(r.epoch);
    w.I64(r.expires.us);
  }
  void operator()(const GangDecisionRecord& r) const {
    w.U8(kGangDecision);
    w.GangSpecOf(r.gang);
    w.U8(static_cast<std::uint8_t>(r.kind));
  }
  void operator()(const GangConfirmedRecord& r) const {
    OneUid(kGangConfirmed, r.uid);
    w.U64(r.epoch);
  }
  void operator()(const GangReleasedRecord& r) const { OneUid(kGangReleased, r.uid); }
  void operator()(const NominatedRecord& r) const {
    if (const auto* pod = std::get_if<ReservedRecord>(&r.places)) {
      w.U8(kNominated);
      Reserved(*pod);
    } else {
      w.U8(kGangNominated);
      Reserved(std::get<GangReservedRecord>(r.places));
    }
    w.U32(static_cast<std::uint32_t>(r.victims.size()));
    for (const PodUid& uid : r.victims) w.Uid(uid);
  }
  void operator()(const RenewedRecord& r) const {
    OneUid(kRenewed, r.uid);
    w.U8(r.gang ? 1 : 0);
    w.U64(r.epoch);
    w.I64(r.expires.us);
  }
  void OneUid(Tag tag, const PodUid& uid) const {
    w.U8(tag);
    w.Uid(uid);
  }
};

ReservedRecord ReadReserved(Reader& r) {
  ReservedRecord v;
  v.uid = r.Uid();
  v.attempt = r.U32();
  v.shape = r.U32();
  v.job = r.U64();
  v.node = r.Text();
  v.cards = CardSet(r.U64());
  v.epoch = r.U64();
  v.expires = SimTime{r.I64()};
  v.numa = r.Numa();
  v.standing = r.StandingOf();
  v.nodes = r.Names();
  return v;
}

GangReservedRecord ReadGangReserved(Reader& r) {
  GangReservedRecord v;
  v.gang = r.GangSpecOf();
  for (std::uint32_t n = r.Count(); n > 0 && r.ok(); --n) {
    GangReservedRecord::Member m;
    m.member = r.I32();
    m.node = r.Text();
    m.cards = CardSet(r.U64());
    m.numa = r.Numa();
    v.members.push_back(std::move(m));
  }
  v.epoch = r.U64();
  v.expires = SimTime{r.I64()};
  return v;
}

bool DecodeRecord(std::string_view payload, std::uint32_t version, JournalRecord& record) {
  Reader r(payload, version);
  record.now = SimTime{r.I64()};
  const std::uint8_t tag = r.U8();
  switch (tag) {
    case kPolicy: {
      PolicyRecord p;
      p.expression = r.Text();
      p.seed = r.U64();
      for (std::uint32_t n = r.Count(); n > 0 && r.ok(); --n) {
        PolicyRecord::Class c;
        c.spec = r.Spec();
        c.count = r.I64();
        p.target.push_back(std::move(c));
      }
      p.target_count = r.I64();
      if (version >= 5) p.lease_ttl_us = r.I64();
      record.body = std::move(p);
      break;
    }
    case kShape:
      record.body = ShapeRecord{r.Spec()};
      break;
    case kNodeAdded:
      record.body = EventRecord{NodeAdded{r.Node()}};
      break;
    case kNodeChanged:
      record.body = EventRecord{NodeChanged{r.Node()}};
      break;
    case kNodeRemoved:
      record.body = EventRecord{NodeRemoved{r.Text()}};
      break;
    case kCordoned: {
      NodeCordoned e;
      e.node = r.Text();
      e.cordoned = r.U8() != 0;
      record.body = EventRecord{std::move(e)};
      break;
    }
    case kCardHealth: {
      CardHealthChanged e;
      e.node = r.Text();
      e.card = r.I32();
      e.healthy = r.U8() != 0;
      record.body = EventRecord{std::move(e)};
      break;
    }
    case kCardCordoned: {
      CardCordoned e;
      e.node = r.Text();
      e.card = r.I32();
      e.cordoned = r.U8() != 0;
      record.body = EventRecord{std::move(e)};
      break;
    }
    case kCardMode: {
      CardModeChanged e;
      e.node = r.Text();
      e.card = r.I32();
      e.mode = r.Enum(CardMode::kPassthrough);
      record.body = EventRecord{std::move(e)};
      break;
    }
    case kCardRules:
      record.body = EventRecord{CardRulesSet{r.Rules()}};
      break;
    case kPodObserved: {
      PodObserved e;
      e.uid = r.Uid();
      e.attempt = r.U32();
      e.spec = r.Spec();
      e.job = r.U64();
      e.node = r.Text();
      e.cards = CardSet(r.U64());
      e.numa = r.Numa();
      e.standing = r.StandingOf();
      record.body = EventRecord{std::move(e)};
      break;
    }
    case kCheckpointed:
      record.body = EventRecord{PodCheckpointed{r.Uid()}};
      break;
    case kQueueSet:
      record.body = EventRecord{QueueSet{r.Queue()}};
      break;
    case kQueueRemoved:
      record.body = EventRecord{QueueRemoved{r.Text()}};
      break;
    case kBudgetSet:
      record.body = EventRecord{r.Budget()};
      break;
    case kPodGone: {
      PodGone e;
      e.uid = r.Uid();
      e.failed = version >= 2 && r.U8() != 0;
      record.body = EventRecord{e};
      break;
    }
    case kDecision: {
      DecisionRecord d;
      d.uid = r.Uid();
      d.attempt = r.U32();
      d.shape = r.U32();
      d.job = r.U64();
      const std::uint8_t kind = r.U8();
      if (kind > static_cast<std::uint8_t>(OutcomeKind::kInfeasible)) r.Refuse();
      d.kind = static_cast<OutcomeKind>(kind);
      d.standing = r.StandingOf();
      d.nodes = r.Names();
      record.body = std::move(d);
      break;
    }
    case kReserved:
      record.body = ReadReserved(r);
      break;
    case kConfirmed:
      record.body = ConfirmedRecord{r.Uid()};
      break;
    case kReleased:
      record.body = ReleasedRecord{r.Uid()};
      break;
    case kRenewed: {
      RenewedRecord renewed;
      renewed.uid = r.Uid();
      renewed.gang = r.U8() != 0;
      renewed.epoch = r.U64();
      renewed.expires = SimTime{r.I64()};
      record.body = renewed;
      break;
    }
    case kExpired:
      record.body = ExpiredRecord{r.Uid()};
      break;
    case kGangReserved:
      record.body = ReadGangReserved(r);
      break;
    case kGangDecision: {
      GangDecisionRecord d;
      d.gang = r.GangSpecOf();
      d.kind = r.Enum(OutcomeKind::kInfeasible);
      record.body = std::move(d);
      break;
    }
    case kGangConfirmed: {
      GangConfirmedRecord c;
      c.uid = r.Uid();
      c.epoch = r.U64();
      record.body = c;
      break;
    }
    case kGangReleased:
      record.body = GangReleasedRecord{r.Uid()};
      break;
    case kNominated:
    case kGangNominated: {
      NominatedRecord n;
      if (tag == kNominated) {
        n.places = ReadReserved(r);
      } else {
        n.places = ReadGangReserved(r);
      }
      for (std::uint32_t v = r.Count(); v > 0 && r.ok(); --v) n.victims.push_back(r.Uid());
      record.body = std::move(n);
      break;
    }
    default:
      return false;
  }
  return r.done();
}

}  // namespace

std::string JournalHeader() {
  Writer w;
  w.U32(kCodecVersion);
  w.U32(VersionCheck(kCodecVersion));
  return std::string(kJournalMagic) + w.Take();
}

std::string EncodeFrame(const JournalRecord& record) {
  Writer payload;
  payload.I64(record.now.us);
  std::visit(EncodeBody{payload}, record.body);
  const std::string body = payload.Take();
  Writer frame;
  frame.U32(static_cast<std::uint32_t>(body.size()));
  frame.U64(Checksum(body));
  return frame.Take() + body;
}

JournalBuffer::JournalBuffer() : bytes_(JournalHeader()) {}

void JournalBuffer::Append(const JournalRecord& record) {
  bytes_ += EncodeFrame(record);
  ++records_;
}

Result<JournalContents> ReadJournal(std::string_view bytes) {
  if (bytes.size() < 16 || bytes.substr(0, 8) != kJournalMagic) {
    return Fail("journal", "this is not a Basalt journal (no header)");
  }
  Reader header(bytes.substr(8, 8));
  const std::uint32_t version = header.U32();
  if (version > kCodecVersion || version == 0) {
    return Fail("journal", fmt::format("format version {}; this build reads up to {}", version,
                                       kCodecVersion));
  }
  if (header.U32() != VersionCheck(version)) return Fail("journal", "the header is damaged");
  JournalContents out;
  std::size_t at = 16;
  out.valid_bytes = at;
  const auto tail = [&](std::string_view what) {
    out.tail_problem = fmt::format("{} at byte {}; {} bytes dropped", what, at, bytes.size() - at);
  };
  while (at < bytes.size()) {
    Reader frame(bytes.substr(at, std::min<std::size_t>(12, bytes.size() - at)));
    const std::uint32_t length = frame.U32();
    const std::uint64_t checksum = frame.U64();
    if (!frame.ok() || length > bytes.size() - at - 12) {
      tail("torn record");
      break;
    }
    if (length > kMaxFrame) {
      tail("absurd record length");
      break;
    }
    const std::string_view payload = bytes.substr(at + 12, length);
    JournalRecord record;
    if (Checksum(payload) != checksum) {
      tail("checksum does not match");
      break;
    }
    if (!DecodeRecord(payload, version, record)) {
      tail("unreadable record");
      break;
    }
    out.records.push_back(std::move(record));
    at += 12 + length;
    out.valid_bytes = at;
  }
  return out;
}

std::string EncodeSnapshot(const SnapshotContents& contents) {
  Writer w;
  w.U64(contents.next_epoch);
  w.I64(contents.now.us);
  w.U32(static_cast<std::uint32_t>(contents.rules.size()));
  for (const CardRules& rules : contents.rules) w.Rules(rules);
  w.U32(static_cast<std::uint32_t>(contents.nodes.size()));
  for (const SnapshotNode& node : contents.nodes) {
    w.Node(node.spec);
    w.U8(node.cordoned ? 1 : 0);
    w.U32(static_cast<std::uint32_t>(node.unhealthy_cards.size()));
    for (const std::uint8_t c : node.unhealthy_cards) w.U8(c);
    w.U32(static_cast<std::uint32_t>(node.cordoned_cards.size()));
    for (const std::uint8_t c : node.cordoned_cards) w.U8(c);
  }
  w.U32(static_cast<std::uint32_t>(contents.shapes.size()));
  for (const RequestSpec& spec : contents.shapes) w.Spec(spec);
  w.U32(static_cast<std::uint32_t>(contents.allocations.size()));
  for (const SnapshotAllocation& a : contents.allocations) {
    w.Uid(a.uid);
    w.U32(a.attempt);
    w.U32(a.shape);
    w.U64(a.job);
    w.Text(a.node);
    w.U64(a.cards.bits());
    w.U64(a.epoch);
    w.I64(a.expires.us);
    w.U8(a.confirmed ? 1 : 0);
    w.Numa(a.numa);
    w.Uid(a.gang);
    w.I64(a.member);
    w.StandingOf(a.standing);
    w.I64(a.started.us);
    w.I64(a.checkpoint.us);
    w.Uid(a.leaving);
  }
  w.U32(static_cast<std::uint32_t>(contents.gangs.size()));
  for (const SnapshotGang& g : contents.gangs) {
    w.GangSpecOf(g.gang);
    for (const std::uint8_t state : g.members) w.U8(state);
    w.U32(static_cast<std::uint32_t>(g.homes.size()));
    for (const auto& [member, path] : g.homes) {
      w.I64(member);
      w.Path(path);
    }
  }
  w.U32(static_cast<std::uint32_t>(contents.queues.size()));
  for (const QueueSpec& queue : contents.queues) w.Queue(queue);
  w.U32(static_cast<std::uint32_t>(contents.budgets.size()));
  for (const DisruptionBudgetSet& budget : contents.budgets) w.Budget(budget);
  w.U32(static_cast<std::uint32_t>(contents.nominations.size()));
  for (const SnapshotNomination& n : contents.nominations) {
    w.Uid(n.uid);
    w.U8(n.gang ? 1 : 0);
    w.U64(n.epoch);
    w.U32(static_cast<std::uint32_t>(n.waiting.size()));
    for (const PodUid& uid : n.waiting) w.Uid(uid);
  }
  const std::string body = w.Take();
  Writer header;
  header.U32(kCodecVersion);
  header.U32(VersionCheck(kCodecVersion));
  header.U64(Checksum(body));
  return std::string(kSnapshotMagic) + header.Take() + body;
}

Result<SnapshotContents> DecodeSnapshot(std::string_view bytes) {
  if (bytes.size() < 24 || bytes.substr(0, 8) != kSnapshotMagic) {
    return Fail("snapshot", "this is not a Basalt snapshot (no header)");
  }
  Reader header(bytes.substr(8, 16));
  const std::uint32_t version = header.U32();
  if (version > kCodecVersion || version == 0) {
    return Fail("snapshot", fmt::format("format version {}; this build reads up to {}", version,
                                        kCodecVersion));
  }
  if (header.U32() != VersionCheck(version)) return Fail("snapshot", "the header is damaged");
  if (header.U64() != Checksum(bytes.substr(24))) {
    return Fail("snapshot", "checksum does not match: the file is damaged");
  }
  Reader r(bytes.substr(24), version);
  SnapshotContents out;
  out.next_epoch = r.U64();
  out.now = SimTime{r.I64()};
  for (std::uint32_t n = version >= 3 ? r.Count() : 0; n > 0 && r.ok(); --n) {
    out.rules.push_back(r.Rules());
  }
  for (std::uint32_t n = r.Count(); n > 0 && r.ok(); --n) {
    SnapshotNode node;
    node.spec = r.Node();
    node.cordoned = r.U8() != 0;
    for (std::uint32_t c = r.Count(); c > 0 && r.ok(); --c) node.unhealthy_cards.push_back(r.U8());
    for (std::uint32_t c = version >= 3 ? r.Count() : 0; c > 0 && r.ok(); --c) {
      node.cordoned_cards.push_back(r.U8());
    }
    out.nodes.push_back(std::move(node));
  }
  for (std::uint32_t n = r.Count(); n > 0 && r.ok(); --n) out.shapes.push_back(r.Spec());
  for (std::uint32_t n = r.Count(); n > 0 && r.ok(); --n) {
    SnapshotAllocation a;
    a.uid = r.Uid();
    a.attempt = r.U32();
    a.shape = r.U32();
    a.job = r.U64();
    a.node = r.Text();
    a.cards = CardSet(r.U64());
    a.epoch = r.U64();
    a.expires = SimTime{r.I64()};
    a.confirmed = r.U8() != 0;
    a.numa = r.Numa();
    if (version >= 2) {
      a.gang = r.Uid();
      a.member = r.I32();
    }
    a.standing = r.StandingOf();
    if (version >= 3) {
      a.started = SimTime{r.I64()};
      a.checkpoint = SimTime{r.I64()};
      a.leaving = r.Uid();
    } else {  // not known: nothing is lost that the snapshot tells of
      a.started = a.checkpoint = out.now;
    }
    out.allocations.push_back(std::move(a));
  }
  for (std::uint32_t n = version >= 2 ? r.Count() : 0; n > 0 && r.ok(); --n) {
    SnapshotGang g;
    g.gang = r.GangSpecOf();
    for (std::size_t m = 0; m < g.gang.pods.size() && r.ok(); ++m) g.members.push_back(r.U8());
    for (std::uint32_t h = r.Count(); h > 0 && r.ok(); --h) {
      const std::int32_t member = r.I32();
      g.homes[member] = r.Path();
    }
    out.gangs.push_back(std::move(g));
  }
  if (version >= 3) {
    for (std::uint32_t n = r.Count(); n > 0 && r.ok(); --n) out.queues.push_back(r.Queue());
    for (std::uint32_t n = r.Count(); n > 0 && r.ok(); --n) out.budgets.push_back(r.Budget());
    for (std::uint32_t n = r.Count(); n > 0 && r.ok(); --n) {
      SnapshotNomination nomination;
      nomination.uid = r.Uid();
      nomination.gang = r.U8() != 0;
      nomination.epoch = r.U64();
      for (std::uint32_t v = r.Count(); v > 0 && r.ok(); --v) {
        nomination.waiting.push_back(r.Uid());
      }
      out.nominations.push_back(std::move(nomination));
    }
  }
  if (!r.done()) return Fail("snapshot", "the contents are shorter or longer than they say");
  return out;
}

}  // namespace basalt
