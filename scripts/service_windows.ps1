# Called by install_service.py, which makes the task's XML. Nothing is decided here.
param(
    [Parameter(Mandatory = $true)][ValidateSet('install', 'remove')][string]$Action,
    [Parameter(Mandatory = $true)][string]$Name,
    [string]$Xml
)
$ErrorActionPreference = 'Stop'
if ($Action -eq 'install') {
    $task = Get-Content -LiteralPath $Xml -Raw -Encoding Unicode
    Register-ScheduledTask -TaskName $Name -Xml $task -Force | Out-Null
    Start-ScheduledTask -TaskName $Name
} else {
    Stop-ScheduledTask -TaskName $Name
    Unregister-ScheduledTask -TaskName $Name -Confirm:$false
}
