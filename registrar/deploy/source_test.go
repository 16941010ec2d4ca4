package deploy

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pgpatron/pgpatron/registrar/registry"
)

// run runs git for a test, as nobody in particular.
func run(t *testing.T, folder string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", args...)
	cmd.Dir = folder
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@b", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@b")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

func write(t *testing.T, folder, name, content string) {
	t.Helper()
	path := filepath.Join(folder, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o644)); err != nil {
		t.Fatal(err)
	}
}

// repository is a git repository of two versions, v1 and main, in whose folder
// lies what was not committed.
func repository(t *testing.T) (folder, firstCommit string) {
	t.Helper()
	folder = t.TempDir()
	run(t, folder, "init", "--quiet", "--initial-branch=main")
	for _, version := range []string{"v1", "v2"} {
		write(t, folder, "Dockerfile", "FROM "+version)
		write(t, folder, "sub/Containerfile", "FROM sub-"+version)
		run(t, folder, "add", ".")
		run(t, folder, "commit", "--quiet", "--message", version)
		run(t, folder, "tag", version)
	}
	write(t, folder, "Dockerfile", "FROM uncommitted")
	return folder, run(t, folder, "rev-parse", "v1")
}

// packed returns what the source's archive holds, by name.
func packed(t *testing.T, s *source) map[string]string {
	t.Helper()
	var b bytes.Buffer
	if err := s.pack(&b); err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for archive := tar.NewReader(&b); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(archive)
		if err != nil {
			t.Fatal(err)
		}
		files[header.Name] = string(content) + header.Linkname
	}
}

func TestSourceIsTheVersionThatWasAskedFor(t *testing.T) {
	folder, commit := repository(t)
	for _, tc := range []struct {
		repository registry.Repository
		file, want string
	}{
		{registry.Repository{URL: folder}, "Dockerfile", "FROM uncommitted"},
		{registry.Repository{URL: folder, Version: "v1"}, "Dockerfile", "FROM v1"},
		{registry.Repository{URL: folder, Version: "main"}, "Dockerfile", "FROM v2"},
		{registry.Repository{URL: folder, Version: commit}, "Dockerfile", "FROM v1"},
		{registry.Repository{URL: folder, Version: commit[:10]}, "Dockerfile", "FROM v1"},
		{registry.Repository{URL: "file://" + folder}, "Dockerfile", "FROM v2"},
		{registry.Repository{URL: folder, Version: "v1", BuildContext: "sub"}, "Containerfile", "FROM sub-v1"},
		{registry.Repository{URL: folder, Version: "v1", ContainerFile: "sub/Containerfile"}, "sub/Containerfile", "FROM sub-v1"},
	} {
		var log bytes.Buffer
		s, err := fetch(t.Context(), tc.repository, &log)
		if err != nil {
			t.Errorf("%+v: %v\n%s", tc.repository, err, &log)
			continue
		}
		files := packed(t, s)
		if s.containerFile != tc.file || files[tc.file] != tc.want {
			t.Errorf("%+v: %s is %q, want %s with %q", tc.repository, s.containerFile, files[tc.file], tc.file, tc.want)
		}
		for name := range files {
			if strings.HasPrefix(name, ".git") {
				t.Errorf("%+v: the archive holds %s", tc.repository, name)
			}
		}
		scratch := s.scratch
		s.close()
		if _, err := os.Stat(scratch); scratch != "" && !errors.Is(err, os.ErrNotExist) {
			t.Errorf("checkout %s is left: %v", scratch, err)
		}
	}
}

func TestSourceThatIsNotThereIsTold(t *testing.T) {
	folder, _ := repository(t)
	if err := os.Symlink("/etc", filepath.Join(folder, "out")); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		repository registry.Repository
		want       string
	}{
		{registry.Repository{URL: folder, Version: "v9"}, "v9"},
		{registry.Repository{URL: folder + "/none"}, "no such file"},
		{registry.Repository{URL: folder, BuildContext: "none"}, "no such file"},
		{registry.Repository{URL: folder, BuildContext: "out"}, "escapes"},
		{registry.Repository{URL: folder, ContainerFile: "out/passwd"}, "there is no out/passwd in the build context"},
		{registry.Repository{URL: folder, BuildContext: "sub", ContainerFile: "Dockerfile"}, "there is no Dockerfile in the build context"},
		{registry.Repository{URL: "ext::sh -c id", Version: "v1"}, "not allowed"},
	} {
		s, err := fetch(t.Context(), tc.repository, io.Discard)
		if err == nil {
			s.close()
		}
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%+v: %v, want %q", tc.repository, err, tc.want)
		}
	}
}

// A link is packed as a link: what it leads to outside of the source is not.
func TestLinksArePackedAsLinks(t *testing.T) {
	folder := t.TempDir()
	write(t, folder, "Dockerfile", "FROM scratch")
	if err := os.Symlink("/etc/passwd", filepath.Join(folder, "link")); err != nil {
		t.Fatal(err)
	}
	s, err := fetch(t.Context(), registry.Repository{URL: folder}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	if got := packed(t, s)["link"]; got != "/etc/passwd" {
		t.Errorf("link holds %q", got)
	}
}

func TestBuildsLogIsReadToItsEnd(t *testing.T) {
	log := &tail{limit: 30}
	err := follow(strings.NewReader(`{"stream":"Step 1/2 : FROM scratch\n"}{"status":"Pulling"}{"errorDetail":{"message":"no"},"error":"COPY failed: no such file"}`), log)
	if err == nil || err.Error() != "COPY failed: no such file" {
		t.Errorf("follow: %v", err)
	}
	if got := log.String(); len(got) != 30 || !strings.HasSuffix(got, "COPY failed: no such file\n") {
		t.Errorf("log's end is %q", got)
	}
	if err := follow(strings.NewReader(`{"stream":"done"}`), log); err != nil {
		t.Errorf("follow: %v", err)
	}
	if err := follow(strings.NewReader(`{"stream":`), log); err == nil {
		t.Error("a log that breaks off is taken for a whole one")
	}
	if lines := slices.Collect(strings.Lines(log.String())); len(lines) == 0 {
		t.Error("nothing is kept")
	}
}
