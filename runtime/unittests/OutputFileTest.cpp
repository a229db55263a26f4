// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Output files: complete or not there, whatever happens while they are written.
#include "TestBundle.h"

#include "mohd/format/output_file.h"

#include <csignal>

#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

using namespace mohdrt;

namespace {

TEST(OutputFile, ReplacesTheTargetAtTheEnd) {
  TempFolder folder;
  ASSERT_TRUE(writeFile(folder.file("a"), "old", 3).ok());
  {
    Result<OutputFile> file = OutputFile::create(folder.file("a"));
    ASSERT_TRUE(file.ok());
    ASSERT_TRUE(file->append("new ", 4).ok());
    ASSERT_TRUE(file->append("text", 4).ok());
    EXPECT_EQ(readAll(folder.file("a")), "old");
    EXPECT_EQ(folder.count(), 2u);
    ASSERT_TRUE(file->commit().ok());
    EXPECT_EQ(readAll(folder.file("a")), "new text");
  }
  EXPECT_EQ(folder.count(), 1u);
}

TEST(OutputFile, DroppedWithoutCommitLeavesNothing) {
  TempFolder folder;
  {
    Result<OutputFile> file = OutputFile::create(folder.file("a"));
    ASSERT_TRUE(file.ok() && file->append("text", 4).ok());
    OutputFile moved = std::move(*file);
    EXPECT_EQ(folder.count(), 1u);
  }
  EXPECT_EQ(folder.count(), 0u);
}

TEST(OutputFile, FullDeviceIsAnIoError) {
  const Status status = writeFile("/dev/full", "text", 4);
  EXPECT_EQ(status.code(), StatusCode::Io);
  EXPECT_EQ(status.message(), "cannot write '/dev/full': No space left on device");
  EXPECT_EQ(writeBundle("/dev/full", makeManifest(), makeSegments()).code(), StatusCode::Io);
  struct stat info;
  ASSERT_EQ(::stat("/dev/full", &info), 0);
  EXPECT_TRUE(S_ISCHR(info.st_mode)) << "the device is still there";
}

TEST(OutputFile, SpecialFilesAreWrittenInPlace) {
  EXPECT_TRUE(writeFile("/dev/null", "text", 4).ok());
  TempFolder folder;
  const std::string pipe = folder.file("pipe");
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  const pid_t child = ::fork();
  if (child == 0)
    ::_exit(writeFile(pipe, "through a pipe", 14).ok() ? 0 : 1);
  EXPECT_EQ(readAll(pipe), "through a pipe");
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

// A disk that fills up: the file may not grow beyond a limit.
// /dev/stdout is a link, to a regular file when the output is redirected: it must stay a link.
TEST(OutputFile, LinksStayLinks) {
  TempFolder dir;
  std::string file = dir.file("file"), link = dir.file("link"), dangling = dir.file("dangling");
  ASSERT_TRUE(writeFile(file, "long before", 11).ok());
  ASSERT_EQ(::symlink(file.c_str(), link.c_str()), 0);
  ASSERT_EQ(::symlink(dir.file("new").c_str(), dangling.c_str()), 0);
  for (const std::string &path : {link, dangling}) {
    ASSERT_TRUE(writeFile(path, "after", 5).ok());
    struct stat info;
    ASSERT_EQ(::lstat(path.c_str(), &info), 0);
    EXPECT_TRUE(S_ISLNK(info.st_mode));
    EXPECT_EQ(readAll(path), "after");
  }
}

TEST(OutputFile, DiskThatFillsUpLeavesNothing) {
  TempFolder folder;
  const pid_t child = ::fork();
  if (child == 0) {
    std::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit = {5000, 5000};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    std::vector<SegmentData> segments = makeSegments();
    segments.push_back(SegmentData::fromBytes("large", std::string(100000, 'x')));
    const Status status = writeBundle(folder.file("a"), makeManifest(), segments);
    ::_exit(status.code() == StatusCode::Io ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(folder.count(), 0u);
}

TEST(OutputFile, UnwritablePlaces) {
  TempFolder folder;
  EXPECT_EQ(writeFile(folder.file("no/such/folder"), "x", 1).code(), StatusCode::Io);
  EXPECT_EQ(writeFile(folder.file(""), "x", 1).code(), StatusCode::Io);
  EXPECT_EQ(folder.count(), 0u);
}

class Interrupt : public ::testing::TestWithParam<int> {};

TEST_P(Interrupt, LeavesNoFileAndEndsTheProcess) {
  TempFolder folder;
  const pid_t child = ::fork();
  if (child == 0) {
    std::signal(GetParam(), SIG_DFL); // the tests themselves may run under nohup
    installInterruptCleanup();
    std::vector<SegmentData> segments = makeSegments();
    segments[1].produce = [&](const ByteSink &sink) {
      (void)sink("ab", 2);
      if (folder.count() != 1) // the temporary file is there
        ::_exit(3);
      std::raise(GetParam());
      return Status();
    };
    (void)writeBundle(folder.file("a"), makeManifest(), segments);
    ::_exit(4);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFSIGNALED(status)) << WEXITSTATUS(status);
  EXPECT_EQ(WTERMSIG(status), GetParam());
  EXPECT_EQ(folder.count(), 0u);
}

INSTANTIATE_TEST_SUITE_P(Signals, Interrupt, ::testing::Values(SIGINT, SIGTERM, SIGHUP));

TEST(BundleWriter, SegmentsThatFail) {
  TempFolder folder;
  std::vector<SegmentData> segments = makeSegments();
  segments[1].produce = [](const ByteSink &) { return Status(StatusCode::NotFound, "no weights"); };
  EXPECT_EQ(writeBundle(folder.file("a"), makeManifest(), segments).message(), "no weights");
  segments[1].produce = [](const ByteSink &sink) { return sink("abc", 3); };
  EXPECT_EQ(writeBundle(folder.file("a"), makeManifest(), segments).message(),
            "segment 'weights' has 3 bytes instead of the 4 announced");
  segments[1].produce = [](const ByteSink &sink) { return sink("abcde", 5); };
  EXPECT_EQ(writeBundle(folder.file("a"), makeManifest(), segments).message(),
            "segment 'weights' is longer than the 4 bytes announced");
  EXPECT_EQ(folder.count(), 0u);
}

TEST(BundleWriter, FractionsInTheConfig) {
  TempFolder folder;
  Manifest manifest = makeManifest();
  manifest.model = ModelInfo();
  manifest.model->config.set("rms_norm_eps", 1e-5);
  const Status status = writeBundle(folder.file("a"), manifest, makeSegments());
  EXPECT_NE(status.message().find("at '/model/config/rms_norm_eps': a fraction"), std::string::npos)
      << status.message();
}

} // namespace
