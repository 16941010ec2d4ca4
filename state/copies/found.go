package copies

import "github.com/pgpatron/pgpatron/state"

// Request asks the registrars what copies there are.
type Request struct {
	ID string `json:"id"`
}

// Answer says that a backend has told all that it has.
type Answer struct {
	// Request is the id of what it answers.
	Request  string `json:"request"`
	Backend  string `json:"backend"`
	Hostname string `json:"hostname"`
	// Volumes is how many volumes of nodes there are, of whichever site.
	Volumes int `json:"volumes"`
}

// Found is what a backend tells of one volume.
type Found struct {
	Request  string `json:"request"`
	Hostname string `json:"hostname"`
	// Subject is what the volume's labels say.
	Subject
	// Container is whether the node has a container, Running whether that runs.
	Container bool `json:"container"`
	Running   bool `json:"running"`
	// Copy is the newest copy on the volume, as it was written.
	Copy []byte `json:"copy,omitempty"`
	// Logins are what the node itself was given to log in with, by the names of a
	// cluster's record. They are told only where the copy is bare: then passwords
	// are plain in etcd, too.
	Logins map[string]state.Credentials `json:"logins,omitempty"`
	// Problem is why there is no copy.
	Problem string `json:"problem,omitempty"`
}
