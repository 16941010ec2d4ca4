package state

// Logins are the logins that a cluster has of its own.
type Logins struct {
	// Set tells these passwords from those before and after them. It says nothing
	// about them, and may be told to everybody.
	Set int `json:"set"`
	// Superuser is Patroni's login to its own server.
	Superuser Credentials `json:"superuser"`
	// Replication is what replicas follow and rewind with.
	Replication Credentials `json:"replication"`
	// Admin is the broker's login.
	Admin Credentials `json:"admin"`
	// REST guards the unsafe methods of Patroni's REST API.
	REST Credentials `json:"rest"`
}

// LoginChange is how far a replacement of a cluster's own passwords is. Each change
// makes another edition of what nodes are told.
type LoginChange struct {
	// LoginEdition counts the changes.
	LoginEdition int `json:"login_edition,omitempty"`
	// LoginSet is the Logins.Set of the cluster's credentials, SpareLoginSet that of
	// the spare ones.
	LoginSet      int `json:"login_set,omitempty"`
	SpareLoginSet int `json:"spare_login_set,omitempty"`
	// The spare credentials are there while passwords are replaced: first the new
	// ones, which everybody is to know before they are used, then the old ones,
	// which may still hold somewhere. Their names have them sealed as the others
	// are.
	SpareSuperuser   Credentials `json:"spare_superuser_credentials,omitzero"`
	SpareReplication Credentials `json:"spare_replication_credentials,omitzero"`
	SpareAdmin       Credentials `json:"spare_admin_credentials,omitzero"`
	SpareREST        Credentials `json:"spare_rest_credentials,omitzero"`
}

// Logins returns the logins that hold, or are about to.
func (c Cluster) Logins() Logins {
	return Logins{c.LoginSet, c.SuperuserCredentials, c.ReplicationCredentials, c.AdminCredentials, c.RESTCredentials}
}

// SpareLogins returns those that may hold, too; there are none most of the time.
func (c Cluster) SpareLogins() (Logins, bool) {
	spare := Logins{c.SpareLoginSet, c.SpareSuperuser, c.SpareReplication, c.SpareAdmin, c.SpareREST}
	return spare, spare != Logins{}
}

// AdminLogins returns the broker's logins: the one to try first, and then another,
// if there is one.
func (c Cluster) AdminLogins() []Credentials {
	logins := []Credentials{c.AdminCredentials}
	if spare, there := c.SpareLogins(); there {
		logins = append(logins, spare.Admin)
	}
	return logins
}

// OfferLogins adds new passwords, which password returns, as spare ones: the first
// change of a replacement.
func (c *Cluster) OfferLogins(password func() Secret) {
	c.LoginEdition++
	login := func(is Credentials) Credentials { return Credentials{Username: is.Username, Password: password()} }
	is := c.Logins()
	c.SetLogins(is, Logins{c.LoginEdition, login(is.Superuser), login(is.Replication), login(is.Admin), login(is.REST)})
}

// AdoptLogins makes the spare passwords those that are to hold, and the others
// spare: the second change.
func (c *Cluster) AdoptLogins() {
	spare, there := c.SpareLogins()
	if !there {
		return
	}
	c.LoginEdition++
	c.SetLogins(spare, c.Logins())
}

// RetireLogins forgets the spare passwords: the last change.
func (c *Cluster) RetireLogins() {
	if _, there := c.SpareLogins(); there {
		c.LoginEdition++
		c.SetLogins(c.Logins(), Logins{})
	}
}

// SetLogins makes these the logins that hold, and those the spare ones.
func (c *Cluster) SetLogins(is, spare Logins) {
	c.LoginSet, c.SuperuserCredentials, c.ReplicationCredentials = is.Set, is.Superuser, is.Replication
	c.AdminCredentials, c.RESTCredentials = is.Admin, is.REST
	c.SpareLoginSet, c.SpareSuperuser, c.SpareReplication, c.SpareAdmin, c.SpareREST = spare.Set, spare.Superuser, spare.Replication, spare.Admin, spare.REST
}

// NamedLogin is one of a cluster's logins, and what it is called in its record.
type NamedLogin struct {
	Name string
	// Spare says that there is none most of the time.
	Spare bool
	Login *Credentials
}

// NamedLogins returns all logins that a cluster has of its own, the spare ones too.
func (c *Cluster) NamedLogins() []NamedLogin {
	return []NamedLogin{
		{"superuser_credentials", false, &c.SuperuserCredentials}, {"replication_credentials", false, &c.ReplicationCredentials},
		{"admin_credentials", false, &c.AdminCredentials}, {"rest_credentials", false, &c.RESTCredentials},
		{"spare_superuser_credentials", true, &c.SpareSuperuser}, {"spare_replication_credentials", true, &c.SpareReplication},
		{"spare_admin_credentials", true, &c.SpareAdmin}, {"spare_rest_credentials", true, &c.SpareREST},
	}
}
