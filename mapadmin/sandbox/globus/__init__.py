"""A Globus service on this machine: Auth and Transfer, as far as administrators use them.

No server of Globus can be installed, so this one stands in for it: over HTTP on 127.0.0.1, on top
of local folders. globus-cli and the SDK work with it unmodified when they are told where it is
(GLOBUS_SDK_SERVICE_URL_TRANSFER, GLOBUS_SDK_SERVICE_URL_AUTH). Its folder holds

    globus.json     what there is: clients, identities, collections and their folders
    control.json    what goes wrong: see `faults`; read again whenever it changes
    state.json      what clients made: tokens, consents, tasks, access rules
    requests.log    a line for each request
"""
