package registry

import (
	"cmp"
	"fmt"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"
)

// Definition says how a service is run: from an image, or from a repository
// that an image is built from. It can not be called; its instances can.
type Definition struct {
	ID string `json:"id"`
	// Image and Repository: exactly one is set.
	Image      *Image      `json:"image,omitempty"`
	Repository *Repository `json:"repository,omitempty"`
	// APISpecs and Clients tell callers how the service is called.
	APISpecs []APISpec    `json:"apiSpecs,omitempty"`
	Clients  []ClientSpec `json:"clients,omitempty"`
	// Envars are the environment of every instance; a deployment's win.
	Envars Envars `json:"envars,omitempty"`
	// Ports says at which host ports internal ones are reached. Internal ports
	// that it does not name get a dynamic one.
	Ports []Port `json:"ports,omitempty"`
	// Scheme is what instances speak at their first port: http (the default),
	// https, tcp or postgresql. It decides how they are probed.
	Scheme string `json:"scheme,omitempty"`
	// Path ends the instances' URLs, and is what an HTTP probe asks for.
	Path string `json:"path,omitempty"`
}

// Image is a container image that exists.
type Image struct {
	Name          string `json:"name"`
	InternalPorts []int  `json:"internalPorts,omitempty"`
}

// Repository is source code with a container file.
type Repository struct {
	// URL is a git URL, or the absolute path of a folder on the backend.
	URL string `json:"url"`
	// Version is a tag, branch or commit. Without one, a git URL means its
	// default branch and a path the files as they lie there.
	Version string `json:"version,omitempty"`
	// BuildContext is the folder in it that is built; default: all of it.
	BuildContext string `json:"buildContext,omitempty"`
	// ContainerFile is relative to BuildContext. Default: Containerfile, or
	// Dockerfile if there is no such file.
	ContainerFile string `json:"containerFile,omitempty"`
	Ports         []Port `json:"ports,omitempty"`
}

// IsLocal reports whether the repository is a folder of the backend.
func (r Repository) IsLocal() bool { return strings.HasPrefix(r.URL, "/") }

// APISpec is where a description of the service's API is found.
type APISpec struct {
	URL          string            `json:"url,omitempty"`
	ProtocolType string            `json:"protocolType,omitempty"`
	Version      string            `json:"version,omitempty"`
	Metadata     map[string]string `json:"metadata,omitempty"`
}

// ClientSpec is where a client of the service is found.
type ClientSpec struct {
	Language string `json:"language,omitempty"`
	URL      string `json:"url,omitempty"`
}

// The schemes that instances are probed by.
const (
	SchemeHTTP       = "http"
	SchemeHTTPS      = "https"
	SchemeTCP        = "tcp"
	SchemePostgreSQL = "postgresql"
)

// Mappings returns every port that instances listen on, the one that they are
// called at first.
func (d Definition) Mappings() []Port {
	var all []Port
	if d.Image != nil {
		for _, p := range d.Image.InternalPorts {
			all = append(all, Port{Internal: p})
		}
	}
	if d.Repository != nil {
		all = append(all, d.Repository.Ports...)
	}
	for _, p := range d.Ports {
		at := slices.IndexFunc(all, func(q Port) bool { return q.Internal == p.Internal })
		if at < 0 {
			all = append(all, p)
		} else {
			all[at].Host = cmp.Or(p.Host, all[at].Host)
		}
	}
	return all
}

// Validate returns the first problem, naming its field.
func (d Definition) Validate() error {
	if err := validID("id", d.ID); err != nil {
		return err
	}
	switch {
	case d.Image != nil && d.Repository != nil:
		return FieldError{"image", fmt.Sprintf("definition '%s' has both image and repository", d.ID)}
	case d.Image == nil && d.Repository == nil:
		return FieldError{"image", fmt.Sprintf("definition '%s' has neither image nor repository", d.ID)}
	}
	for _, check := range []func() error{d.validateImage, d.validateRepository, d.validatePorts, d.validateAddress} {
		if err := check(); err != nil {
			return err
		}
	}
	return d.Envars.validate()
}

func (d Definition) validateImage() error {
	if d.Image == nil {
		return nil
	}
	if d.Image.Name == "" || strings.ContainsAny(d.Image.Name, " \t\n") {
		return FieldError{"image.name", "must be the name of an image"}
	}
	for i, p := range d.Image.InternalPorts {
		if !isPort(p) {
			return FieldError{fmt.Sprintf("image.internalPorts[%d]", i), fmt.Sprintf("must be from 1 to 65535, got %d", p)}
		}
	}
	return nil
}

// version is what git takes for a tag, a branch or a commit, and never for an
// option or a range.
var version = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._/+-]{0,254}$`)

func (d Definition) validateRepository() error {
	r := d.Repository
	if r == nil {
		return nil
	}
	if err := validRepositoryURL(r.URL); err != nil {
		return err
	}
	if r.Version != "" && (!version.MatchString(r.Version) || strings.Contains(r.Version, "..")) {
		return FieldError{"repository.version", "must be a tag, a branch or a commit"}
	}
	if !isInside(r.BuildContext) {
		return FieldError{"repository.buildContext", "must be a folder of the repository"}
	}
	if !isInside(r.ContainerFile) {
		return FieldError{"repository.containerFile", "must be a file of the build context"}
	}
	return validPorts("repository.ports", r.Ports)
}

// scpLike is git's short form of an ssh URL.
var scpLike = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]*@[A-Za-z0-9.-]+:[^:]+$`)

func validRepositoryURL(text string) error {
	const field = "repository.url"
	if text == "" {
		return FieldError{field, "must be set"}
	}
	if path.IsAbs(text) || scpLike.MatchString(text) {
		return nil
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || !slices.Contains([]string{"https", "http", "ssh", "git"}, u.Scheme) {
		return FieldError{field, "must be a git URL (https, http, ssh, git) or an absolute path"}
	}
	// The record is read by whoever may look, and the URL is an argument of git.
	// Over http a user's name may be a token.
	_, secret := u.User.Password()
	if secret || u.User != nil && strings.HasPrefix(u.Scheme, "http") {
		return FieldError{field, "must not hold a login: give the backend's git one"}
	}
	return nil
}

// isInside reports whether a relative path stays inside of what it is relative
// to.
func isInside(p string) bool {
	return p == "" || !path.IsAbs(p) && !strings.HasPrefix(p, "-") && path.Clean("/"+p) == "/"+path.Clean(p) || path.Clean(p) == "."
}

func (d Definition) validatePorts() error {
	if err := validPorts("ports", d.Ports); err != nil {
		return err
	}
	// Image and ports together may name a host port twice.
	return validPorts("ports", d.Mappings())
}

func (d Definition) validateAddress() error {
	if d.Scheme != "" && !slices.Contains([]string{SchemeHTTP, SchemeHTTPS, SchemeTCP, SchemePostgreSQL}, d.Scheme) {
		return FieldError{"scheme", fmt.Sprintf("must be http, https, tcp or postgresql, got %q", d.Scheme)}
	}
	return validPath(d.Path)
}

func validPath(p string) error {
	if u, err := url.Parse(p); p != "" && (err != nil || !strings.HasPrefix(p, "/") || u.Host != "") {
		return FieldError{"path", "must begin with a slash"}
	}
	return nil
}
