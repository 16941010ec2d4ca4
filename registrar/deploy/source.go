package deploy

import (
	"archive/tar"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"strings"

	"github.com/pgpatron/pgpatron/registrar/registry"
)

// source is what an image is built from: a folder with a container file.
type source struct {
	root          *os.Root
	containerFile string
	// scratch is a checkout that goes with the source, "" if it is the user's
	// own folder.
	scratch string
}

// fetch returns a repository's build context. What git says goes to log.
func fetch(ctx context.Context, r registry.Repository, log io.Writer) (_ *source, err error) {
	s := &source{}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	folder := r.URL
	if !r.IsLocal() || r.Version != "" {
		if s.scratch, err = os.MkdirTemp("", "pgpatron-source-"); err != nil {
			return nil, err
		}
		folder = s.scratch
		if err := checkOut(ctx, r, folder, log); err != nil {
			return nil, err
		}
	}
	if s.root, err = openContext(folder, r.BuildContext); err != nil {
		return nil, fmt.Errorf("opening the build context: %w", err)
	}
	s.containerFile, err = findContainerFile(s.root, r.ContainerFile)
	return s, err
}

// openContext opens a folder inside of another. Links do not lead out of it.
func openContext(folder, inside string) (*os.Root, error) {
	root, err := os.OpenRoot(folder)
	if err != nil || inside == "" {
		return root, err
	}
	defer root.Close()
	return root.OpenRoot(inside)
}

func findContainerFile(root *os.Root, named string) (string, error) {
	candidates := []string{"Containerfile", "Dockerfile"}
	if named != "" {
		candidates = []string{path.Clean(named)}
	}
	for _, name := range candidates {
		if _, err := root.Stat(name); err == nil {
			return name, nil
		}
	}
	return "", fmt.Errorf("there is no %s in the build context", strings.Join(candidates, " or "))
}

// checkOut puts one version of a git repository into the folder: that version
// alone if its server gives it out by name, else by way of everything.
func checkOut(ctx context.Context, r registry.Repository, folder string, log io.Writer) error {
	if err := git(ctx, folder, log, "init", "--quiet"); err != nil {
		return err
	}
	version := cmp.Or(r.Version, "HEAD")
	if git(ctx, folder, log, "fetch", "--quiet", "--depth=1", "--", r.URL, version) == nil {
		return git(ctx, folder, log, "checkout", "--quiet", "FETCH_HEAD")
	}
	if err := git(ctx, folder, log, "fetch", "--quiet", "--tags", "--", r.URL, "+refs/heads/*:refs/remotes/origin/*"); err != nil {
		return err
	}
	return git(ctx, folder, log, "checkout", "--quiet", "--detach", version)
}

// git runs git without a person at hand, over the transports that a definition
// may name.
func git(ctx context.Context, folder string, log io.Writer, args ...string) error {
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir = folder
	cmd.Env = append(os.Environ(), "GIT_TERMINAL_PROMPT=0", "GIT_ALLOW_PROTOCOL=file:git:http:https:ssh", "GIT_SSH_COMMAND=ssh -oBatchMode=yes")
	said := &tail{limit: keptLog}
	cmd.Stdout, cmd.Stderr = said, said
	err := cmd.Run()
	fmt.Fprintf(log, "git %s\n%s", args[0], said)
	if err != nil {
		return fmt.Errorf("git %s: %w: %s", args[0], err, strings.TrimSpace(said.String()))
	}
	return nil
}

// pack writes the build context as a tar archive, without git's own folder.
func (s *source) pack(w io.Writer) error {
	archive := tar.NewWriter(w)
	err := fs.WalkDir(s.root.FS(), ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case name == ".":
			return nil
		case entry.Name() == ".git":
			if entry.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		return s.packFile(archive, name, entry)
	})
	return errors.Join(err, archive.Close())
}

func (s *source) packFile(archive *tar.Writer, name string, entry fs.DirEntry) error {
	info, err := entry.Info()
	if err != nil {
		return err
	}
	link := ""
	if info.Mode()&fs.ModeSymlink != 0 {
		if link, err = s.root.Readlink(name); err != nil {
			return err
		}
	}
	header, err := tar.FileInfoHeader(info, link)
	if err != nil {
		return nil // a socket has no place in an archive
	}
	if header.Name = name; info.IsDir() {
		header.Name += "/"
	}
	header.Uid, header.Gid, header.Uname, header.Gname = 0, 0, "", ""
	if err := archive.WriteHeader(header); err != nil || !info.Mode().IsRegular() {
		return err
	}
	file, err := s.root.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = io.CopyN(archive, file, header.Size)
	return err
}

// close lets go of the source, and of its checkout.
func (s *source) close() {
	if s.root != nil {
		s.root.Close()
	}
	if s.scratch != "" {
		// What stays is a folder of temporary files.
		_ = os.RemoveAll(s.scratch)
	}
}
