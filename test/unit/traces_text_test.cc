#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zlib.h>

#include "test/unit/traces_test_util.h"
#include "traces/sha256.h"
#include "traces/text.h"

namespace basalt::trace {
namespace {

using testing::HasSubstr;

std::string Gzip(std::string_view text) {
  z_stream stream{};
  deflateInit2(&stream, 9, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY);
  std::string out(deflateBound(&stream, text.size()) + 32, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  deflate(&stream, Z_FINISH);
  out.resize(out.size() - stream.avail_out);
  deflateEnd(&stream);
  return out;
}

// FIPS 180-4 examples, and a length at each side of the padding's block edge.
TEST(Sha256, KnownVectors) {
  EXPECT_EQ(Sha256Hex(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(Sha256Hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(Sha256Hex("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(Sha256Hex(std::string(1'000'000, 'a')),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Sha256, PiecesGiveTheSameAsTheWhole) {
  const std::string text(300, 'x');
  for (std::size_t cut = 0; cut <= text.size(); ++cut) {
    Sha256 sha;
    sha.Update(std::string_view(text).substr(0, cut));
    sha.Update(std::string_view(text).substr(cut));
    ASSERT_EQ(sha.Hex(), Sha256Hex(text)) << cut;
  }
}

TEST(ReadText, MissingFileNamesThePath) {
  const auto text = ReadText("/nonexistent/pods.csv");
  ASSERT_FALSE(text);
  EXPECT_EQ(text.error().ToString(), "/nonexistent/pods.csv: there is no such file");
}

TEST(ReadText, DirectoryIsNotAFile) {
  const TempDir dir;
  EXPECT_THAT(ReadText(dir / ".").error().ToString(), HasSubstr("is a directory; name a file"));
}

TEST(ReadText, PlainAndGzipGiveTheSameTextAndNameTheirBytes) {
  const TempDir dir;
  std::string body;
  for (int i = 0; i < 100'000; ++i) body += "line " + std::to_string(i * 7919) + "\n";
  const std::string packed = Gzip(body);
  SourceFile plain_file, packed_file;
  const auto plain = ReadText(dir.Write("a.csv", body), &plain_file);
  const auto unpacked = ReadText(dir.Write("a.csv.gz", packed), &packed_file);
  ASSERT_TRUE(plain && unpacked);
  EXPECT_EQ(*plain, body);
  EXPECT_EQ(*unpacked, body);
  EXPECT_EQ(plain_file, (SourceFile{"a.csv", Sha256Hex(body)}));
  EXPECT_EQ(packed_file, (SourceFile{"a.csv.gz", Sha256Hex(packed)}));
}

TEST(Gunzip, MembersFollowEachOther) {
  EXPECT_EQ(Gunzip("f", Gzip("one\n") + Gzip("two\n")).value(), "one\ntwo\n");
}

TEST(Gunzip, EveryTruncationIsAnError) {
  const std::string packed = Gzip("name,cpu_milli\np0,1\n");
  for (std::size_t size = 0; size < packed.size(); ++size) {
    const auto text = Gunzip("f.gz", std::string_view(packed).substr(0, size));
    ASSERT_FALSE(text) << size;
    EXPECT_THAT(text.error().ToString(), HasSubstr("f.gz: the gzip data ends early")) << size;
  }
}

TEST(Gunzip, DamageAndTrailingBytesAreErrors) {
  std::string packed = Gzip("hello, hello, hello\n");
  EXPECT_THAT(Gunzip("f.gz", packed + "junk").error().ToString(),
              HasSubstr("f.gz: not valid gzip data at byte"));
  packed[packed.size() - 6] ^= 1;  // in the checksum
  EXPECT_THAT(Gunzip("f.gz", packed).error().ToString(), HasSubstr("not valid gzip data"));
  EXPECT_THAT(Gunzip("f.gz", "plain text").error().ToString(),
              HasSubstr("a file that is not compressed must not end in .gz"));
}

TEST(ReadText, CompressedWithoutTheNameSaysSo) {
  const TempDir dir;
  EXPECT_THAT(ReadText(dir.Write("a.csv", Gzip("x\n"))).error().ToString(),
              HasSubstr("its name does not end in .gz; rename it"));
}

// A decompression bomb and a gigabyte line stop at the limit, not at the end of memory.
TEST(Gunzip, LimitsHold) {
  const std::string zeros = Gzip(std::string(1 << 20, '0'));
  const auto line = Gunzip("f.gz", zeros, {1 << 22, 1 << 16});
  EXPECT_EQ(line.error().ToString(),
            "f.gz:1:1: the line is longer than 65536 bytes; is this a text file with one record a "
            "line?");
  std::string lines;
  while (lines.size() < (1 << 20)) lines += "0123456789\n";
  EXPECT_EQ(Gunzip("f.gz", Gzip(lines), {1 << 19, 1 << 16}).error().ToString(),
            "f.gz: the text is larger than 524288 bytes; split the file");
}

TEST(ReadText, HugeLineIsRefusedByDefault) {
  const TempDir dir;
  const std::string path = dir.Write("a.csv", "a,b\n" + std::string((16 << 20) + 1, 'x'));
  EXPECT_EQ(ReadText(path).error().ToString(),
            path +
                ":2:1: the line is longer than 16 MiB; is this a text file with one record a "
                "line?");
}

TEST(CheckText, NulAndBadUtf8HaveAPlace) {
  struct Case {
    std::string text, error;
  };
  for (const auto& [input, error] : std::vector<Case>{
           {std::string("a\nb\0", 4), "f:2:2: a NUL byte; the file is damaged or not text"},
           {"a\n\xc3\xa4\xff", "f:2:2: not valid UTF-8; save the file as UTF-8"},
           {"\xc0\xaf", "f:1:1: not valid UTF-8; save the file as UTF-8"},             // overlong
           {"\xed\xa0\x80", "f:1:1: not valid UTF-8; save the file as UTF-8"},         // surrogate
           {"\xf4\x90\x80\x80", "f:1:1: not valid UTF-8; save the file as UTF-8"},     // too large
           {"12345678\xe2\x82", "f:1:9: not valid UTF-8; save the file as UTF-8"}}) {  // cut
    Diagnostics d;
    std::string_view text = input;
    EXPECT_FALSE(CheckText("f", &text, &d));
    EXPECT_EQ(OnlyError(d), error);
  }
  Diagnostics d;
  std::string_view good =
      "\xef\xbb\xbf"
      "abcdefgh \xc3\xa4 \xe2\x82\xac \xf0\x9f\x8c\x8b";
  EXPECT_TRUE(CheckText("f", &good, &d));
  EXPECT_TRUE(good.starts_with("abc"));  // without the byte order mark
}

TEST(Quoted, EscapesAndCuts) {
  EXPECT_EQ(Quoted("a\tb\x01"), "\"a\\tb\\x01\"");
  EXPECT_EQ(Quoted(std::string(50, 'x')), '"' + std::string(40, 'x') + "...\"");
  // A character of two bytes at the cut stays whole or goes.
  EXPECT_EQ(Quoted(std::string(39, 'x') + "\xc3\xa4z"), '"' + std::string(39, 'x') + "...\"");
}

TEST(Diagnostics, KeepsTwentyAndCountsTheRest) {
  Diagnostics d;
  EXPECT_EQ(d.ToString(), "");
  for (int i = 0; i < 23; ++i) d.Add("f:" + std::to_string(i), "bad");
  EXPECT_EQ(d.errors.size(), 20U);
  EXPECT_EQ(d.total, 23U);
  EXPECT_THAT(d.ToString(), HasSubstr("f:19: bad\n... and 3 more errors"));
  const Error joined = d.ToError();
  EXPECT_EQ(joined.where, "f:0");
  EXPECT_EQ(joined.ToString(), d.ToString());
  Diagnostics other;
  other.Add("g:1", "worse");
  other.Append(d);
  EXPECT_EQ(other.total, 24U);
  EXPECT_EQ(other.errors.size(), 20U);
  EXPECT_EQ(other.errors[1].where, "f:0");
}

}  // namespace
}  // namespace basalt::trace
