//! What can be asked of the daemon, by resource.

/// Enums of operations, each with the list of all of its values.
macro_rules! operations {
    ($($(#[$doc:meta])* $group:ident($name:ident) { $($(#[$op_doc:meta])* $op:ident,)* })*) => {
        $($(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$op_doc])* $op,)* })*

        /// Everything that can be asked of the daemon.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Operation { $($(#[$doc])* $group($name),)* }

        impl Operation {
            /// All of them.
            pub fn all() -> impl Iterator<Item = Self> {
                [$($(Self::$group($name::$op),)*)*].into_iter()
            }
        }
    };
}

operations! {
    /// The daemon.
    System(SystemOp) {
        /// Tells that the daemon lives.
        Ping,
        /// Tells versions.
        Version,
        /// Tells all about the daemon.
        Info,
        /// Tells bytes on disk.
        DiskUsage,
        /// Streams events.
        Events,
        /// Lists plugins (none).
        Plugins,
        /// Shows a plugin (there is none; `docker inspect` asks here, too).
        InspectPlugin,
    }
    /// The swarm.
    Swarm(SwarmOp) {
        /// Shows the swarm.
        Inspect,
        /// Starts a swarm.
        Init,
        /// Joins one.
        Join,
        /// Leaves it.
        Leave,
        /// Changes its parameters.
        Update,
        /// Unlocks a manager.
        Unlock,
        /// Shows the key.
        UnlockKey,
    }
    /// Nodes.
    Node(NodeOp) {
        /// Lists them.
        List,
        /// Shows one.
        Inspect,
        /// Changes one.
        Update,
        /// Removes one.
        Remove,
    }
    /// Services and tasks.
    Service(ServiceOp) {
        /// Lists them.
        List,
        /// Makes one.
        Create,
        /// Shows one.
        Inspect,
        /// Changes one.
        Update,
        /// Removes one.
        Remove,
        /// Streams log lines.
        Logs,
        /// Lists tasks.
        ListTasks,
        /// Shows a task.
        InspectTask,
        /// Streams a task's log lines.
        TaskLogs,
    }
    /// Secrets.
    Secret(SecretOp) {
        /// Lists them.
        List,
        /// Makes one.
        Create,
        /// Shows one.
        Inspect,
        /// Changes one's labels.
        Update,
        /// Removes one.
        Remove,
    }
    /// Configs.
    Config(ConfigOp) {
        /// Lists them.
        List,
        /// Makes one.
        Create,
        /// Shows one.
        Inspect,
        /// Changes one's labels.
        Update,
        /// Removes one.
        Remove,
    }
    /// Networks.
    Network(NetworkOp) {
        /// Lists them.
        List,
        /// Shows one.
        Inspect,
        /// Makes one.
        Create,
        /// Removes one.
        Remove,
        /// Removes the unused.
        Prune,
        /// Shows this host's virtual server (Shoal's own; Docker has no such path).
        VirtualServer,
        /// Follows a connection (Shoal's own).
        Trace,
        /// Compares what every node's kernel holds with what was declared (Shoal's own).
        Verify,
    }
    /// Containers.
    Container(ContainerOp) {
        /// Lists them.
        List,
        /// Shows one.
        Inspect,
        /// Starts one.
        Start,
        /// Stops one.
        Stop,
        /// Stops and starts one.
        Restart,
        /// Sends a signal.
        Kill,
        /// Waits for an end.
        Wait,
        /// Removes one.
        Remove,
        /// Sets a terminal size.
        Resize,
        /// Shows processes.
        Top,
        /// Streams counters.
        Stats,
        /// Streams log lines.
        Logs,
        /// Removes the unused.
        Prune,
    }
    /// Exec sessions.
    Exec(ExecOp) {
        /// Makes one.
        Create,
        /// Starts one.
        Start,
        /// Sets a terminal size.
        Resize,
        /// Shows one.
        Inspect,
    }
    /// Images.
    Image(ImageOp) {
        /// Lists them.
        List,
        /// Shows one.
        Inspect,
        /// Shows how it was made.
        History,
        /// Makes one.
        Create,
        /// Takes in an archive.
        Load,
        /// Gives out an archive.
        Save,
        /// Gives out an archive of several.
        SaveMany,
        /// Gives another name.
        Tag,
        /// Sends to a registry.
        Push,
        /// Removes one.
        Remove,
        /// Removes the unused.
        Prune,
        /// Removes what builds have left (nothing: there are no builds; `docker system prune` asks here, too).
        PruneBuilds,
        /// Asks a registry.
        Distribution,
    }
    /// Volumes.
    Volume(VolumeOp) {
        /// Lists them.
        List,
        /// Shows one.
        Inspect,
        /// Removes one.
        Remove,
        /// Removes the unused.
        Prune,
    }
}
